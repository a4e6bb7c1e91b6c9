// Numbers and times as they stand on the page. Pure: who calls passes the time. Digits that change stay in place, so
// every format keeps its number of decimals.

import { texts } from './texts'

const formats = new Map<string, Intl.NumberFormat>()

function format(key: string, options: Intl.NumberFormatOptions): Intl.NumberFormat {
  let found = formats.get(key)
  if (!found) {
    found = new Intl.NumberFormat(texts.locale, options)
    formats.set(key, found)
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

function two(value: number, width = 2): string {
  return String(value).padStart(width, '0')
}

/** Wall-clock time of the reader's zone, "14:03:22.418"; `tenths` cuts to one digit. */
export function clockTime(iso: string, digits: 0 | 1 | 3 = 3): string {
  const date = new Date(iso)
  if (Number.isNaN(date.getTime())) return texts.none
  const clock = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`
  return digits === 0 ? clock : `${clock}.${two(date.getMilliseconds(), 3).slice(0, digits)}`
}

/** Date and time of the reader's zone, and the same in UTC, for titles. */
export function fullTime(iso: string): string {
  const date = new Date(iso)
  if (Number.isNaN(date.getTime())) return iso
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`
  return `${day} ${clockTime(iso)} (${date.toISOString()})`
}

/** A comma-separated list with spaces, so that it may wrap. */
export function list(text: string): string {
  return text.replaceAll(/,\s*/g, ', ')
}

/** A machine's name made readable: "cell_voltage" becomes "cell voltage". */
export function words(name: string): string {
  return name.replaceAll('_', ' ')
}
