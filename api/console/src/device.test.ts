import { expect, it } from 'vitest'

import {
  alertsOf,
  byUnit,
  cellsOf,
  defaultMetrics,
  lineMs,
  metricsOf,
  stretchesOf,
  temperaturesOf,
  timeline,
} from './device'
import { device, metric } from './fixtures'
import { toRow } from './fleet'
import type { Alert } from './graphql'

const pack = device('pack-1', {
  latest: [
    metric('cell_voltage_1', 3.3, 'V'),
    metric('cell_voltage_2', 3.312, 'V'),
    metric('cell_voltage_10', 3.291, 'V'),
    metric('soc_percent', 50, '%'),
    metric('temperature_2', 21, '°C'),
    metric('temperature_1', 20, '°C'),
    metric('pack_current', 1, 'A'),
    metric('pack_voltage', 52, 'V'),
  ],
  attributes: { cells_balancing: '2, 10' },
})

it('cells stand against their mean, the extremes marked', () => {
  const cells = cellsOf(toRow(pack))
  expect(cells?.meanV).toBeCloseTo(3.301)
  expect(cells?.spreadMv).toBe(21)
  expect(cells?.scaleMv).toBeCloseTo(11)
  expect(cells?.bars.map((bar) => [bar.index, Math.round(bar.offMv)])).toEqual([
    [1, -1],
    [2, 11],
    [10, -10],
  ])
  expect(cells?.bars.map((bar) => [bar.highest, bar.lowest, bar.balancing])).toEqual([
    [false, false, false],
    [true, false, true],
    [false, true, true],
  ])
})

it('equal cells are neither high nor low, and one cell is no comparison', () => {
  const equal = [metric('cell_voltage_1', 3.3), metric('cell_voltage_2', 3.3)]
  const cells = cellsOf(toRow(device('a', { latest: equal })))
  expect(cells?.bars.some((bar) => bar.highest || bar.lowest)).toBe(false)
  expect(cells?.scaleMv).toBe(5)
  expect(cellsOf(toRow(device('a', { latest: equal.slice(1) })))).toBeNull()
})

it('what most cells share is no extreme', () => {
  const latest = [1, 2, 3, 4].map((index) => metric(`cell_voltage_${index}`, index === 1 ? 3.301 : 3.3))
  const bars = cellsOf(toRow(device('a', { latest })))?.bars ?? []
  expect(bars.map((bar) => bar.highest)).toEqual([true, false, false, false])
  expect(bars.some((bar) => bar.lowest)).toBe(false)
})

it('the chart starts with voltage, current and charge, or with what there is', () => {
  expect(defaultMetrics(pack)).toEqual(['pack_voltage', 'pack_current', 'soc_percent'])
  const room = device('room', { latest: [metric('humidity', 50, '%'), metric('temperature', 20, '°C')] })
  expect(defaultMetrics(room)).toEqual(['temperature', 'humidity'])
  expect(
    metricsOf(pack)
      .map(({ name }) => name)
      .slice(-3),
  ).toEqual(['cell_voltage_1', 'cell_voltage_2', 'cell_voltage_10'])
})

it('metrics of one unit share an axis', () => {
  expect(byUnit(pack, ['soc_percent', 'pack_voltage', 'cell_voltage_1', 'gone'])).toEqual([
    { unit: 'V', names: ['pack_voltage', 'cell_voltage_1'] },
    { unit: '%', names: ['soc_percent'] },
  ])
})

it('temperatures stand in the order people count', () => {
  expect(temperaturesOf(pack).map(({ name }) => name)).toEqual(['temperature_1', 'temperature_2'])
})

it('changes of state become stretches of time and a time line', () => {
  const at = (ms: number): string => new Date(ms).toISOString()
  const stretches = stretchesOf([
    { state: 'ONLINE', since: at(900), reason: 'it answers' },
    { state: 'OFFLINE', since: at(500), reason: null },
    { state: 'ONLINE', since: at(0), reason: null },
  ])
  expect(stretches.map(({ sinceMs, untilMs }) => [sinceMs, untilMs])).toEqual([
    [900, null],
    [500, 900],
    [0, 500],
  ])
  expect([lineMs(stretches, 1_000), lineMs(stretches, 3_600_000), lineMs(stretches, 1e9)]).toEqual([
    600_000, 3_600_000, 86_400_000,
  ])
  const parts = timeline(stretches, 600, 1_000).map(({ stretch, left, width }) => [
    stretch.state,
    left,
    width,
  ])
  expect(parts).toEqual([
    ['OFFLINE', 0, 75],
    ['ONLINE', 75, 25],
  ])
})

it('an alert that stands is not told twice', () => {
  const [a, b] = [{ id: 'a' }, { id: 'b' }] as [Alert, Alert]
  expect(alertsOf([b], [b, a]).map(({ id }) => id)).toEqual(['b', 'a'])
})
