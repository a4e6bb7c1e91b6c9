// What a device's page makes of its values: cells against their mean, the metrics worth charting, its states as
// stretches of time. Pure, so that each rule has its test.

import type { Row } from './fleet'
import type { Alert, Device, DeviceState, MetricValue, StateChange } from './graphql'

export interface CellBar {
  index: number
  volts: number
  /** How far from the mean of all cells, in millivolts. */
  offMv: number
  highest: boolean
  lowest: boolean
  balancing: boolean
}

export interface Cells {
  bars: CellBar[]
  meanV: number
  spreadMv: number
  /** What the longest bar may stand for: never so little that noise looks like a fault. */
  scaleMv: number
}

const SMALLEST_SCALE_MV = 5
/** Boards measure in whole millivolts: what more than half of the cells share stands out from nothing. */
const MOST_AT_AN_EXTREME = 0.5

/** The cells of a device against their mean; null where it has fewer than two. */
export function cellsOf(row: Row): Cells | null {
  if (row.cells.length < 2) return null
  const volts = row.cells.map((cell) => cell.value)
  const [low, high] = [Math.min(...volts), Math.max(...volts)]
  const meanV = volts.reduce((sum, value) => sum + value, 0) / volts.length
  const balancing = numbersIn(row.device.attributes?.['cells_balancing'])
  const stands = (extreme: number): boolean =>
    low < high && volts.filter((value) => value === extreme).length <= volts.length * MOST_AT_AN_EXTREME
  const [marksHigh, marksLow] = [stands(high), stands(low)]
  const bars = row.cells.map(({ index, value }) => ({
    index,
    volts: value,
    offMv: (value - meanV) * 1000,
    highest: marksHigh && value === high,
    lowest: marksLow && value === low,
    balancing: balancing.has(index),
  }))
  const furthestMv = Math.max(high - meanV, meanV - low) * 1000
  const scaleMv = Math.max(SMALLEST_SCALE_MV, furthestMv)
  return { bars, meanV, spreadMv: Math.round((high - low) * 1000), scaleMv }
}

function numbersIn(value: unknown): Set<number> {
  return new Set(
    String(value ?? '')
      .match(/\d+/g)
      ?.map(Number) ?? [],
  )
}

const TEMPERATURE = /^temperature(_.+)?$|_temperature$/

/** The device's temperatures, in the order people count. */
export function temperaturesOf(device: Device): MetricValue[] {
  return device.latest
    .filter((metric) => TEMPERATURE.test(metric.name))
    .toSorted((a, b) => a.name.localeCompare(b.name, 'en', { numeric: true }))
}

const FIRST = [
  'pack_voltage',
  'voltage',
  'battery_voltage',
  'pack_current',
  'current',
  'battery_current',
  'soc_percent',
  'soc',
  'battery_percent',
  'pack_power',
  'power',
  'temperature',
  'temperature_1',
  'temperature_2',
  'remaining_capacity',
  'humidity',
]
const STARTED_WITH = 3

/** Its metrics in the order in which somebody would look at them: the battery's own first, cells and switches last. */
export function metricsOf(device: Device): MetricValue[] {
  const rank = ({ name }: MetricValue): number => {
    const known = FIRST.indexOf(name)
    if (known >= 0) return known
    if (name.startsWith('cell_voltage_')) return 200
    // Switches make poor curves.
    return name.endsWith('_enabled') ? 300 : 100
  }
  return device.latest.toSorted(
    (a, b) => rank(a) - rank(b) || a.name.localeCompare(b.name, 'en', { numeric: true }),
  )
}

/** What the chart shows before anybody chose: voltage, current and state of charge, or the first that there are. */
export function defaultMetrics(device: Device): string[] {
  return metricsOf(device)
    .filter((metric) => !metric.name.startsWith('cell_voltage_'))
    .slice(0, STARTED_WITH)
    .map((metric) => metric.name)
}

/** The chosen metrics by unit, each unit an axis of its own, in the order in which they were first seen. */
export function byUnit(device: Device, chosen: readonly string[]): { unit: string; names: string[] }[] {
  const groups = new Map<string, string[]>()
  for (const { name, unit } of metricsOf(device)) {
    if (!chosen.includes(name)) continue
    const key = unit ?? ''
    groups.set(key, [...(groups.get(key) ?? []), name])
  }
  return [...groups].map(([unit, names]) => ({ unit, names }))
}

export interface Stretch {
  state: DeviceState
  sinceMs: number
  /** Null for the one that holds now. */
  untilMs: number | null
  reason: string | null
}

/** The changes as stretches of time, newest first as they come. */
export function stretchesOf(changes: StateChange[]): Stretch[] {
  return changes.map(({ state, since, reason }, index) => {
    const next = changes[index - 1]
    return { state, sinceMs: Date.parse(since), untilMs: next ? Date.parse(next.since) : null, reason }
  })
}

const LONGEST_LINE_MS = 86_400_000
const SHORTEST_LINE_MS = 600_000

/** How long a time line to draw: the last day, or less where the node has known the device for less. */
export function lineMs(stretches: Stretch[], nowMs: number): number {
  const knownMs = nowMs - (stretches.at(-1)?.sinceMs ?? nowMs)
  return Math.min(LONGEST_LINE_MS, Math.max(SHORTEST_LINE_MS, knownMs))
}

/** The parts of a time line from `fromMs` to `nowMs`, in percent of its length, oldest first. */
export function timeline(
  stretches: Stretch[],
  fromMs: number,
  nowMs: number,
): { stretch: Stretch; left: number; width: number }[] {
  const length = nowMs - fromMs
  return stretches
    .filter((stretch) => (stretch.untilMs ?? nowMs) > fromMs)
    .map((stretch) => {
      const left = (Math.max(0, stretch.sinceMs - fromMs) / length) * 100
      const right = (Math.max(0, (stretch.untilMs ?? nowMs) - fromMs) / length) * 100
      return { stretch, left, width: Math.max(0, Math.min(100, right) - left) }
    })
    .reverse()
}

/** Active alerts first, then the past, each newest first and none twice. */
export function alertsOf(active: Alert[], past: Alert[]): Alert[] {
  const standing = new Set(active.map((alert) => alert.id))
  return [...active, ...past.filter((alert) => !standing.has(alert.id))]
}
