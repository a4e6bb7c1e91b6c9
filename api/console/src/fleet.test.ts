import { describe, expect, it } from 'vitest'

import { device, metric } from './fixtures'
import { cellSpreadMv, countStates, matches, sortRows, toRow, type Column } from './fleet'

const pack = device('pack-1', {
  latest: [
    metric('cell_voltage_2', 3.312, 'V'),
    metric('cell_voltage_10', 3.3, 'V'),
    metric('cell_voltage_1', 3.305, 'V'),
    metric('pack_current', -8.4, 'A'),
    metric('pack_power', -440, 'W'),
    metric('pack_voltage', 52.4, 'V'),
    metric('soc_percent', 71, '%'),
    metric('temperature_1', 22, '°C'),
    metric('temperature_2', 24.5, '°C'),
  ],
})

describe('a row', () => {
  it('sorts a pack’s metrics into columns and takes the highest temperature', () => {
    const row = toRow(pack)
    expect([row.soc, row.voltage, row.current, row.temperature].map((shown) => shown?.value)).toEqual([
      71, 52.4, -8.4, 24.5,
    ])
    expect(row.other.map((other) => other.name)).toEqual(['pack_power'])
    expect(row.cells.map((cell) => cell.index)).toEqual([1, 2, 10])
    expect(cellSpreadMv(row)).toBe(12)
  })

  it('leaves empty what a device does not measure, and keeps what has no column', () => {
    const row = toRow(
      device('m', { type: 'mqtt', latest: [metric('humidity', 48, '%'), metric('temperature', 0, '°C')] }),
    )
    expect([row.soc, row.voltage, row.current]).toEqual([null, null, null])
    expect(row.temperature?.value).toBe(0)
    expect(row.other.map((other) => other.name)).toEqual(['humidity'])
    expect(cellSpreadMv(row)).toBeNull()
  })

  it('does not show Fahrenheit as Celsius', () => {
    const row = toRow(device('m', { latest: [metric('temperature', 70, '°F')] }))
    expect(row.temperature).toBeNull()
    expect(row.other).toHaveLength(1)
  })
})

function order(column: Column, descending: boolean): string[] {
  const rows = [
    device('pack-10', { state: 'ONLINE', readings: 5, latest: [metric('soc_percent', 50)] }),
    device('pack-2', { state: 'OFFLINE', readings: 9, lastSeen: '2026-01-15T10:00:00Z' }),
    device('pack-1', { state: 'PARKED', readings: 5, lastSeen: null, latest: [metric('soc_percent', 9)] }),
  ].map(toRow)
  return sortRows(rows, { column, descending }).map((row) => row.device.id)
}

describe('sorting', () => {
  it('counts as people do', () => {
    expect(order('name', false)).toEqual(['pack-1', 'pack-2', 'pack-10'])
    expect(order('name', true)).toEqual(['pack-10', 'pack-2', 'pack-1'])
  })

  it('puts what has no value last, either way', () => {
    expect(order('soc', false)).toEqual(['pack-1', 'pack-10', 'pack-2'])
    expect(order('soc', true)).toEqual(['pack-10', 'pack-1', 'pack-2'])
    expect(order('seen', false)).toEqual(['pack-10', 'pack-2', 'pack-1'])
    expect(order('seen', true)).toEqual(['pack-2', 'pack-10', 'pack-1'])
  })

  it('shows trouble first by state, and breaks ties by name', () => {
    expect(order('state', false)).toEqual(['pack-1', 'pack-2', 'pack-10'])
    expect(order('readings', false)).toEqual(['pack-1', 'pack-10', 'pack-2'])
  })
})

it('the filter wants every word somewhere, in any case', () => {
  const row = toRow(device('pack-1', { name: 'Garage', attributes: { fault_codes: 'cell_overvoltage' } }))
  expect(matches(row, 'GARAGE daly')).toBe(true)
  expect(matches(row, 'overvoltage online')).toBe(true)
  expect(matches(row, 'garage offline')).toBe(false)
})

it('states are counted, absent ones as zero', () => {
  const counts = countStates([device('a'), device('b'), device('c', { state: 'PARKED' })])
  expect(counts).toEqual({ ONLINE: 2, OFFLINE: 0, PARKED: 1, QUARANTINED: 0, DISABLED: 0 })
})
