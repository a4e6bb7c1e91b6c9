// Numbers and times as they stand on the page. Pure: who calls passes the time. Digits that change stay in place, so
// every format keeps its number of decimals.

import { texts } from './texts'

const formats = new Map<string, Intl.NumberFormat>()

function format(key: string, options: Intl.NumberFormatOptions): Intl.NumberFormat {
  const inLanguage = `${texts.locale} ${key}`
  let found = formats.get(inLanguage)
  if (!found) {
    found = new Intl.NumberFormat(texts.locale, options)
    formats.set(inLanguage, found)
  }
  return found
}

/** A number with fixed decimals and a true minus sign; "–" where there is none. */
export function number(value: number | null | undefined, decimals = 0): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return texts.none
  const options = {
    minimumFractionDigits: decimals,
    maximumFractionDigits: decimals,
    signDisplay: 'negative',
  } as const
  return format(`n${decimals}`, options).format(value).replace('-', '−')
}

/** A number that always shows its sign, except for zero: "+12.4", "−3.0", "0.0". */
export function signed(value: number | null | undefined, decimals = 1): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return texts.none
  const options = {
    minimumFractionDigits: decimals,
    maximumFractionDigits: decimals,
    signDisplay: 'exceptZero',
  } as const
  return format(`s${decimals}`, options).format(value).replace('-', '−')
}

/** A number of any size with about four digits that matter, for values whose kind we don't know. */
export function compact(value: number): string {
  if (!Number.isFinite(value)) return texts.none
  const size = Math.abs(value)
  if (Number.isInteger(value) || size >= 1000) return number(value)
  return number(value, size >= 100 ? 1 : size >= 1 ? 2 : 3)
}

/** A length of time in its largest unit: "0.8 s", "12 s", "3 min", "5 h", "2 d". */
export function age(ms: number): string {
  const seconds = Math.max(0, ms) / 1000
  const { units } = texts
  // Cut, not rounded: an age never claims more than has passed.
  if (seconds < 9.95) return `${number(seconds, 1)} ${units.s}`
  if (seconds < 60) return `${number(Math.floor(seconds))} ${units.s}`
  if (seconds < 3600) return `${number(Math.floor(seconds / 60))} ${units.min}`
  if (seconds < 48 * 3600) return `${number(Math.floor(seconds / 3600))} ${units.h}`
  return `${number(Math.floor(seconds / 86400))} ${units.d}`
}

/** A planned pause: milliseconds below one second, else as an age. */
export function pause(ms: number): string {
  return ms < 1000 ? `${number(Math.round(ms))} ${texts.units.ms}` : age(ms)
}

const clocks = new Map<string, Intl.DateTimeFormat>()

function clock(key: string, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const inLanguage = `${texts.locale} ${key}`
  let found = clocks.get(inLanguage)
  if (!found) {
    found = new Intl.DateTimeFormat(texts.locale, options)
    clocks.set(inLanguage, found)
  }
  return found
}

const CLOCK = { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' } as const

/** Wall-clock time of the reader's zone, "14:03:22.418", with so many digits of a second. */
export function clockTime(iso: string, digits: 0 | 1 | 3 = 3): string {
  const date = new Date(iso)
  if (Number.isNaN(date.getTime())) return texts.none
  const options = digits === 0 ? CLOCK : { ...CLOCK, fractionalSecondDigits: digits }
  return clock(`c${digits}`, options).format(date)
}

/** Date and time of the reader's zone, and the same in UTC, for titles. */
export function fullTime(iso: string): string {
  const date = new Date(iso)
  if (Number.isNaN(date.getTime())) return iso
  return `${clock('day', { dateStyle: 'medium' }).format(date)} ${clockTime(iso)} (${date.toISOString()})`
}

/** A moment as short as it can be told: the clock for the last 18 hours, else day and minute. */
export function moment(iso: string, nowMs: number): string {
  const ms = Date.parse(iso)
  if (Number.isNaN(ms)) return texts.none
  if (Math.abs(nowMs - ms) < 18 * 3_600_000) return clockTime(iso, 0)
  const options = { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' } as const
  return clock('moment', { ...options, hourCycle: 'h23' }).format(ms)
}

/** A comma-separated list with spaces, so that it may wrap. */
export function list(text: string): string {
  return text.replaceAll(/,\s*/g, ', ')
}

/** A machine's name made readable: "cell_voltage" becomes "cell voltage". */
export function words(name: string): string {
  return name.replaceAll('_', ' ')
}

const CELL = /^cell_voltage_(\d+)$/
const SENSOR = /^temperature_(.+)$/

/** A metric's name in the reader's language, where it has one. */
export function metricName(name: string): string {
  const cell = CELL.exec(name)?.[1]
  if (cell) return texts.metricPatterns.cell(cell)
  const sensor = SENSOR.exec(name)?.[1]
  if (sensor) return texts.metricPatterns.temperature(words(sensor))
  return texts.metrics[name] ?? words(name)
}

const SILENT = /^nothing heard for (\d+) s$/

/** A sentence of the node's in the reader's language, where we know it. */
export function phrase(said: string): string {
  const seconds = SILENT.exec(said)?.[1]
  return seconds ? texts.silentFor(seconds) : (texts.phrases[said] ?? said)
}
