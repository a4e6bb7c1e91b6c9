import { expect, it } from 'vitest'

import { axisNumbers, axisTimes, laneRange } from './axes'

it('a resting battery is a flat line in the middle, not noise from edge to edge', () => {
  const [bottom, top] = laneRange(52.79, 52.8, 'V')
  expect(top - bottom).toBeCloseTo(0.24)
  expect((bottom + top) / 2).toBeCloseTo(52.795)
  expect(laneRange(null, null, 'V')).toEqual([0, 1])
})

it('percentages stay between none and all, unless a device says otherwise', () => {
  expect(laneRange(99, 100, '%')[1]).toBe(100)
  expect(laneRange(0, 1, '%')[0]).toBe(0)
  expect(laneRange(90, 120, '%')[1]).toBeGreaterThan(120)
})

it('axis numbers have the decimals of their step', () => {
  expect(axisNumbers([42.5, 45], 2.5)).toEqual(['42.5', '45.0'])
  expect(axisNumbers([-50, 0], 50)).toEqual(['−50', '0'])
  expect(axisNumbers([0.05], 0.05)).toEqual(['0.05'])
})

it('axis times are as fine as their step', () => {
  const noon = new Date(2026, 0, 15, 12, 0, 30).getTime() / 1000
  const midnight = new Date(2026, 0, 15).getTime() / 1000
  expect(axisTimes([noon], 30)).toEqual(['12:00:30'])
  expect(axisTimes([noon, midnight], 300)).toEqual(['12:00', '15 Jan'])
  expect(axisTimes([noon], 86_400)).toEqual(['15 Jan'])
})
