// What the fleet table shows of a device, and in which order. Pure, so that each rule has its test.

import type { Device, DeviceState, MetricValue } from './graphql'

/** A value with what is needed to see whether it still moves. */
export interface Shown {
  value: number
  timeMs: number
}

export interface Row {
  device: Device
  soc: Shown | null
  voltage: Shown | null
  current: Shown | null
  temperature: Shown | null
  seenMs: number | null
  /** Cell voltages, first cell first. */
  cells: { index: number; value: number; timeMs: number }[]
  /** Metrics that have no column of their own. */
  other: MetricValue[]
  faults: string
  warnings: string
}

export type Column = 'name' | 'state' | 'soc' | 'voltage' | 'current' | 'temperature' | 'seen' | 'readings'
export interface Sorting {
  column: Column
  descending: boolean
}

const SOC = ['soc_percent', 'soc', 'battery_percent', 'battery_level', 'battery']
const VOLTAGE = ['pack_voltage', 'voltage', 'battery_voltage']
const CURRENT = ['pack_current', 'current', 'battery_current']
const TEMPERATURE = /^temperature(_.+)?$|_temperature$/
const CELL = /^cell_voltage_(\d+)$/
const CELSIUS = new Set(['', '°c', 'c', '℃', 'celsius', 'degc'])

/** Sorts a device's metrics into the table's columns; what fits none is kept as `other`. */
export function toRow(device: Device): Row {
  const rest = new Map(device.latest.map((metric) => [metric.name, metric]))
  const take = (names: string[]): Shown | null => {
    for (const name of names) {
      const metric = rest.get(name)
      if (!metric) continue
      rest.delete(name)
      return { value: metric.value, timeMs: Date.parse(metric.time) }
    }
    return null
  }
  const row = { soc: take(SOC), voltage: take(VOLTAGE), current: take(CURRENT) }
  const temperatures: Shown[] = []
  const cells: Row['cells'] = []
  for (const metric of device.latest) {
    const shown = { value: metric.value, timeMs: Date.parse(metric.time) }
    const cell = CELL.exec(metric.name)
    if (cell) cells.push({ index: Number(cell[1]), ...shown })
    else if (isTemperature(metric)) temperatures.push(shown)
    else continue
    rest.delete(metric.name)
  }
  cells.sort((a, b) => a.index - b.index)
  return {
    device,
    ...row,
    temperature: highest(temperatures),
    seenMs: device.lastSeen === null ? null : Date.parse(device.lastSeen),
    cells,
    other: [...rest.values()],
    faults: attribute(device, 'fault_codes'),
    warnings: attribute(device, 'warning_codes'),
  }
}

function isTemperature(metric: MetricValue): boolean {
  return TEMPERATURE.test(metric.name) && CELSIUS.has((metric.unit ?? '').trim().toLowerCase())
}

function highest(values: Shown[]): Shown | null {
  return values.reduce<Shown | null>(
    (top, next) => (top === null || next.value > top.value ? next : top),
    null,
  )
}

/** One attribute as text; empty where the device has none. */
export function attribute(device: Device, name: string): string {
  const value = device.attributes?.[name]
  return value === undefined || value === null ? '' : String(value)
}

/** How far the cells are apart, in millivolts. */
export function cellSpreadMv(row: Row): number | null {
  if (row.cells.length < 2) return null
  const values = row.cells.map((cell) => cell.value)
  return Math.round((Math.max(...values) - Math.min(...values)) * 1000)
}

/** Trouble first, when sorted upwards. */
const STATE_ORDER: Record<DeviceState, number> = {
  QUARANTINED: 0,
  PARKED: 1,
  OFFLINE: 2,
  ONLINE: 3,
  DISABLED: 4,
}

const collator = new Intl.Collator('en', { numeric: true, sensitivity: 'base' })

/** Compares names as people read them: pack-2 before pack-10. */
export function byName(a: string, b: string): number {
  return collator.compare(a, b) || (a < b ? -1 : a > b ? 1 : 0)
}

function keyOf(row: Row, column: Exclude<Column, 'name'>): number | null {
  switch (column) {
    case 'state':
      return STATE_ORDER[row.device.state] ?? STATE_ORDER.OFFLINE
    case 'seen':
      // Sorted by age, as it is shown: the most recent first, when sorted upwards.
      return row.seenMs === null ? null : -row.seenMs
    case 'readings':
      return row.device.readings
    case 'soc':
    case 'voltage':
    case 'current':
    case 'temperature':
      return row[column]?.value ?? null
  }
}

/** Sorts rows; what has no value stands last either way, and equals stand by name. */
export function sortRows(rows: Row[], { column, descending }: Sorting): Row[] {
  const sign = descending ? -1 : 1
  const name = (a: Row, b: Row): number =>
    byName(a.device.name, b.device.name) || byName(a.device.id, b.device.id)
  if (column === 'name') return rows.toSorted((a, b) => sign * name(a, b))
  return rows.toSorted((a, b) => {
    const [x, y] = [keyOf(a, column), keyOf(b, column)]
    if (x === null || y === null) return Number(x === null) - Number(y === null) || name(a, b)
    return sign * (x - y) || name(a, b)
  })
}

/** Whether every word of the filter occurs in what the row says of itself. */
export function matches(row: Row, filter: string): boolean {
  const { id, name, type, state } = row.device
  const text = `${id} ${name} ${type} ${state} ${row.faults} ${row.warnings}`.toLowerCase()
  return filter
    .toLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word))
}

/** How many devices are in each state. */
export function countStates(devices: Device[]): Record<DeviceState, number> {
  const counts: Record<DeviceState, number> = {
    ONLINE: 0,
    OFFLINE: 0,
    PARKED: 0,
    QUARANTINED: 0,
    DISABLED: 0,
  }
  for (const device of devices) counts[device.state] += 1
  return counts
}
