import { effectScope, nextTick, ref, type EffectScope } from 'vue'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'

import { useCourses, type Courses } from './charting'
import { settled } from './fixtures'

const NOW = Date.parse('2026-01-15T10:30:00Z')
const at = (second: number): string => new Date(NOW + second * 1000).toISOString()

interface Asked {
  metric: string
  from: string
  answer: (seconds: number[]) => Promise<void>
  refuse: () => Promise<void>
}

let scope: EffectScope
let courses: Courses
let asked: Asked[]

beforeEach(() => {
  asked = []
  vi.stubGlobal('fetch', (_url: string, { body }: { body: string }) => {
    const { variables } = JSON.parse(body) as { variables: { metric: string; from: string } }
    return new Promise<Response>((resolve, reject) => {
      const answer = (seconds: number[]): Promise<void> => {
        const points = seconds.map((second) => ({ time: at(second), value: second }))
        resolve(new Response(JSON.stringify({ data: { deviceTelemetry: { points } } })))
        return settled()
      }
      const refuse = (): Promise<void> => {
        reject(new TypeError('refused'))
        return settled()
      }
      asked.push({ ...variables, answer, refuse })
    })
  })
  scope = effectScope()
  courses = scope.run(() => useCourses('pack-1', ref(NOW))) as Courses
})

afterEach(() => {
  scope.stop()
  vi.unstubAllGlobals()
})

const marks = (): number[] => courses.courseOf('soc').marks.map((mark) => mark.mean)
const live = (second: number): void => courses.take({ time: at(second), value: second, metricName: 'soc' })

async function choose(...metrics: string[]): Promise<void> {
  courses.chosen.value = metrics
  await nextTick()
}

it('what comes by the stream while the history is fetched is not lost', async () => {
  await choose('soc')
  live(1)
  await asked[0]?.answer([-2, -1, 0])
  expect(marks()).toEqual([-2, -1, 0, 1])
})

it('with the first sample of a new stream the hole before it is asked for, once', async () => {
  await choose('soc')
  await asked[0]?.answer([-2, -1])
  courses.opened()
  await asked[1]?.answer([-2, -1])
  live(3)
  live(4)
  expect(asked).toHaveLength(3)
  expect(Date.parse(asked[2]?.from ?? '')).toBeLessThanOrEqual(NOW - 1000)
  await asked[2]?.answer([-1, 0, 1, 2, 3])
  expect(marks()).toEqual([-2, -1, 0, 1, 2, 3, 4])
  live(5)
  expect(asked).toHaveLength(3)
})

it('an answer for a range that is no longer shown is thrown away', async () => {
  await choose('soc')
  courses.rangeKey.value = '1h'
  await nextTick()
  await asked[1]?.answer([1])
  await asked[0]?.answer([-100])
  expect(marks()).toEqual([1])
  expect(courses.loading.value).toBe(false)
})

it('a history that cannot be fetched says so, and is fetched when the stream opens again', async () => {
  await choose('soc')
  await asked[0]?.refuse()
  expect(courses.problem.value).toBe('no answer')
  courses.opened()
  await asked[1]?.answer([7])
  expect(courses.problem.value).toBeNull()
  expect(marks()).toEqual([7])
})

it('a metric that is no longer chosen is forgotten, and asked for anew', async () => {
  await choose('soc')
  await asked[0]?.answer([1])
  await choose()
  expect(marks()).toEqual([])
  await choose('soc', 'volts')
  expect(asked.slice(1).map(({ metric }) => metric)).toEqual(['soc', 'volts'])
})
