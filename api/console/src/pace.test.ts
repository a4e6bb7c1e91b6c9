import { describe, expect, it } from 'vitest'

import { device } from './fixtures'
import { isStale, Pace, PATIENCE_MS, STRANGER_PATIENCE_MS } from './pace'

function at(second: number): string {
  return new Date(Date.UTC(2026, 0, 15) + second * 1000).toISOString()
}

describe('the rate', () => {
  it('is the readings of all devices over the time watched', () => {
    const pace = new Pace()
    expect(pace.readingsPerSecond()).toBeNull()
    for (let second = 0; second <= 5; second += 1) {
      pace.watch(
        [device('a', { readings: 100 + 2 * second }), device('b', { readings: 7 * second })],
        second * 1000,
      )
    }
    expect(pace.readingsPerSecond()).toBeCloseTo(9)
  })

  it('forgets what is older than ten seconds', () => {
    const pace = new Pace()
    for (let second = 0; second <= 30; second += 1) {
      pace.watch([device('a', { readings: Math.min(second, 10) * 50 })], second * 1000)
    }
    expect(pace.readingsPerSecond()).toBe(0)
  })

  it('takes neither a new device nor a node that started over for a burst', () => {
    const pace = new Pace()
    pace.watch([device('a', { readings: 1000 })], 0)
    pace.watch([device('a', { readings: 3 }), device('b', { readings: 500 })], 1000)
    expect(pace.readingsPerSecond()).toBe(0)
  })
})

describe('a device’s usual pause', () => {
  it('is learnt from what it sends, shared among readings that came together', () => {
    const pace = new Pace()
    expect(pace.usualPauseMs('a')).toBeNull()
    pace.watch([device('a', { lastSeen: at(0), readings: 1 })], 0)
    pace.watch([device('a', { lastSeen: at(60), readings: 2 })], 60_000)
    expect(pace.usualPauseMs('a')).toBe(60_000)

    const busy = new Pace()
    busy.watch([device('a', { lastSeen: at(0), readings: 1 })], 0)
    busy.watch([device('a', { lastSeen: at(1), readings: 11 })], 1_000)
    expect(busy.usualPauseMs('a')).toBe(100)
  })

  it('decides when a value has stopped moving', () => {
    expect(isStale(PATIENCE_MS, 100)).toBe(false)
    expect(isStale(PATIENCE_MS + 1, 100)).toBe(true)
    expect(isStale(179_000, 60_000)).toBe(false)
    expect(isStale(181_000, 60_000)).toBe(true)
    expect(isStale(STRANGER_PATIENCE_MS, null)).toBe(false)
    expect(isStale(STRANGER_PATIENCE_MS + 1, null)).toBe(true)
  })
})
