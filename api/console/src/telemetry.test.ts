import { describe, expect, it } from 'vitest'

import { append, bucketStart, columnsOf, courseOf, emptyCourse, forgetBefore, gapMs } from './telemetry'

const at = (ms: number): string => new Date(ms).toISOString()
const samples = (...times: number[]): { time: string; value: number }[] =>
  times.map((ms) => ({ time: at(ms), value: ms / 1000 }))

describe('a course of samples', () => {
  it('joins history and live samples without repeats, whichever comes first', () => {
    const course = courseOf(null, [], samples(1_000, 2_000, 4_000))
    append(course, 4_000, 99)
    append(course, 5_000, 5)
    append(course, 3_000, 3)
    append(course, 500, 0.5)
    expect(course.marks.map((mark) => mark.atMs)).toEqual([500, 1_000, 2_000, 3_000, 4_000, 5_000])
    expect(course.marks.map((mark) => mark.mean)).toEqual([0.5, 1, 2, 3, 4, 5])
  })

  it('takes no sample that is no number', () => {
    const course = emptyCourse(null)
    append(course, Number.NaN, 1)
    append(course, 1, Number.NaN)
    expect(course.marks).toEqual([])
  })

  it('breaks where the device was silent, by its own pace', () => {
    const fast = columnsOf(courseOf(null, [], samples(1_000, 2_000, 3_000, 12_000, 13_000)))
    expect(fast.gaps).toBe(1)
    expect(fast.means).toEqual([1, 2, 3, null, 12, 13])
    expect(fast.seconds[3]).toBeCloseTo(3.001)
    const slow = columnsOf(courseOf(null, [], samples(0, 60_000, 120_000, 200_000)))
    expect(slow.gaps).toBe(0)
    expect(gapMs(courseOf(null, [], samples(1_000)))).toBe(Number.POSITIVE_INFINITY)
  })

  it('forgets what left the range, but for the mark that leads into it', () => {
    const course = courseOf(null, [], samples(1_000, 2_000, 3_000, 4_000))
    forgetBefore(course, 3_500)
    expect(course.marks.map((mark) => mark.atMs)).toEqual([3_000, 4_000])
    forgetBefore(course, 9_000)
    expect(course.marks).toHaveLength(2)
  })
})

describe('a course of buckets', () => {
  const bucket = (ms: number, avg: number) => ({ bucket: at(ms), avg, min: avg - 1, max: avg + 1, count: 10 })

  it('folds live samples into the bucket that is still open, each once', () => {
    const course = courseOf(60_000, [bucket(0, 5)], samples(60_000, 62_000))
    append(course, 62_000, 1_000)
    append(course, 64_000, 88)
    append(course, 121_000, 7)
    expect(course.marks).toEqual([
      { atMs: 0, mean: 5, low: 4, high: 6, count: 10 },
      { atMs: 60_000, mean: 70, low: 60, high: 88, count: 3 },
      { atMs: 120_000, mean: 7, low: 7, high: 7, count: 1 },
    ])
  })

  it('breaks where a bucket is missing', () => {
    const columns = columnsOf(courseOf(60_000, [bucket(0, 5), bucket(60_000, 5), bucket(180_000, 5)], []))
    expect(columns.means).toEqual([5, 5, null, 5])
  })

  it('begins where the node’s buckets begin', () => {
    expect(bucketStart(299_999, 300_000)).toBe(0)
    expect(bucketStart(300_000, 300_000)).toBe(300_000)
  })
})
