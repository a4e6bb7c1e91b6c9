import { expect, it } from 'vitest'

import { actor, event } from './fixtures'
import { buildTree, eventMatches, groupsBelowRoots, linesOf } from './tree'

const actors = [
  actor('node', { supervisor: true }),
  actor('node/devices', { supervisor: true }),
  actor('node/devices/pack-10'),
  actor('node/devices/pack-2', { status: 'parked' }),
  actor('node/storage', { supervisor: true }),
  actor('node/storage/journal'),
]

it('children hang under their parents, in the order people count', () => {
  const lines = linesOf(buildTree(actors), new Set())
  expect(lines.map(({ depth, node }) => `${depth} ${node.name}`)).toEqual([
    '0 node',
    '1 devices',
    '2 pack-2',
    '2 pack-10',
    '1 storage',
    '2 journal',
  ])
})

it('a closed group hides its children and still counts them', () => {
  const lines = linesOf(buildTree(actors), new Set(['node/devices']))
  expect(lines.map((line) => line.node.name)).toEqual(['node', 'devices', 'storage', 'journal'])
  expect(lines[1]?.node).toMatchObject({ below: 2, runningBelow: 1 })
  expect(lines[0]?.node).toMatchObject({ below: 5, runningBelow: 4 })
})

it('an actor without its parent becomes a root rather than vanish', () => {
  const lines = linesOf(buildTree([actor('node/devices/pack-1'), actor('node')]), new Set())
  expect(lines.map((line) => line.node.actor.path)).toEqual(['node', 'node/devices/pack-1'])
})

it('collapsing all keeps the groups themselves in sight', () => {
  expect(groupsBelowRoots(buildTree(actors))).toEqual(['node/devices', 'node/storage'])
})

it('events are filtered by actor, kind and what happened', () => {
  const failed = event({ event: 'failed', path: 'node/devices/pack-2', reason: 'link lost' })
  expect(
    ['', 'pack-2', 'daly bms', 'FAILED pack', 'link'].map((words) => eventMatches(failed, words)),
  ).toEqual([true, true, true, true, true])
  expect(eventMatches(failed, 'pack-2 started')).toBe(false)
})
