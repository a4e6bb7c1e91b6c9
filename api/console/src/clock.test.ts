import { expect, it } from 'vitest'

import { narrow, offsetMs, rangeOf } from './clock'

it('our clock is believed while the node’s agrees with it', () => {
  expect(offsetMs(null)).toBe(0)
  // Sent at 10.9 s, answered at 11.1 s, dated 10 s.
  expect(offsetMs(rangeOf(10_000, 10_900, 11_100))).toBe(0)
})

it('a clock three minutes slow is put right to within the header’s step', () => {
  let range = null
  for (let ms = 0; ms < 5_000; ms += 730) {
    const node = 180_000 + ms
    range = narrow(range, rangeOf(Math.floor(node / 1000) * 1000, ms - 20, ms))
  }
  expect(offsetMs(range)).toBeGreaterThan(179_900)
  expect(offsetMs(range)).toBeLessThanOrEqual(180_000)
})

it('a clock that was set is learnt anew', () => {
  const before = rangeOf(100_000, 100_000, 100_100)
  const after = rangeOf(500_000, 101_000, 101_100)
  expect(narrow(before, after)).toEqual(after)
})
