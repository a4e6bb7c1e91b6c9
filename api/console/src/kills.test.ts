import { expect, it } from 'vitest'

import { actor } from './fixtures'
import { follow, MARKED_MS, type Kills } from './kills'

const killed: Kills = { p: { phase: 'restarting', incarnation: 1, restarts: 0, sinceMs: 0 } }

it('an actor is back when a newer incarnation of it runs, not before', () => {
  expect(follow(killed, [actor('p')], 1)).toBe(killed)
  expect(follow(killed, [actor('p', { status: 'backing_off' })], 1)).toBe(killed)
  expect(follow(killed, [actor('p', { status: 'starting', incarnation: 2, restarts: 1 })], 1)).toBe(killed)
  expect(follow(killed, [actor('p', { incarnation: 2, restarts: 1 })], 1)).toEqual({
    p: { phase: 'restarted', restarts: 1, sinceMs: 1 },
  })
})

it('the mark of a restart fades, a refusal stays until it is dismissed', () => {
  const kills: Kills = {
    back: { phase: 'restarted', restarts: 1, sinceMs: 0 },
    no: { phase: 'refused', message: 'parked' },
  }
  expect(follow(kills, [], MARKED_MS)).toBe(kills)
  expect(follow(kills, [], MARKED_MS + 1)).toEqual({ no: { phase: 'refused', message: 'parked' } })
})

it('an actor that left the tree is still waited for', () => {
  expect(follow(killed, [], 1)).toBe(killed)
})
