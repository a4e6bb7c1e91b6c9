// A metric's course over a range of time, pure: history and live samples in one line, without repeats, with the gaps
// where the device or the node was silent left open. Long ranges are kept as buckets of mean, smallest and largest.

import type { Bucket, Sample } from './graphql'

export type RangeKey = '15min' | '1h' | '24h' | '7d'

export interface Range {
  key: RangeKey
  spanMs: number
  /** The width of a bucket; null where every sample is shown. */
  bucketMs: number | null
}

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS

export const RANGES: Record<RangeKey, Range> = {
  '15min': { key: '15min', spanMs: 15 * MINUTE_MS, bucketMs: null },
  '1h': { key: '1h', spanMs: HOUR_MS, bucketMs: null },
  '24h': { key: '24h', spanMs: 24 * HOUR_MS, bucketMs: 5 * MINUTE_MS },
  '7d': { key: '7d', spanMs: 7 * 24 * HOUR_MS, bucketMs: 30 * MINUTE_MS },
}

/** A silence shorter than this is never a gap, however fast the device usually is. */
const SHORTEST_GAP_MS = 5_000

/** One point of a course; where every sample is shown, mean, smallest and largest are the sample. */
export interface Mark {
  atMs: number
  mean: number
  low: number
  high: number
  count: number
}

/** A course, oldest mark first, no two at the same time. */
export interface Course {
  bucketMs: number | null
  marks: Mark[]
  /** The newest sample taken in, so that none counts twice in a bucket. */
  newestMs: number
}

export function emptyCourse(bucketMs: number | null): Course {
  return { bucketMs, marks: [], newestMs: Number.NEGATIVE_INFINITY }
}

/** The start of the bucket that a moment is in; buckets are aligned to 1970, as the node's are. */
export function bucketStart(atMs: number, bucketMs: number): number {
  return Math.floor(atMs / bucketMs) * bucketMs
}

/** A width as the node's interval argument wants it. */
export function intervalText(bucketMs: number): string {
  return `${bucketMs / MINUTE_MS} minutes`
}

/** The course of a history; of the samples, those after the last finished bucket are folded in one by one. */
export function courseOf(bucketMs: number | null, buckets: Bucket[], samples: Sample[]): Course {
  const course = emptyCourse(bucketMs)
  course.marks = buckets.map(({ bucket, avg, min, max, count }) => ({
    atMs: Date.parse(bucket),
    mean: avg,
    low: min,
    high: max,
    count,
  }))
  for (const { time, value } of samples) append(course, Date.parse(time), value)
  return course
}

/** Takes in a sample. One that is not newer than all before is put in its place, or ignored if it is known. */
export function append(course: Course, atMs: number, value: number): void {
  if (!Number.isFinite(atMs) || !Number.isFinite(value)) return
  const mark = { atMs, mean: value, low: value, high: value, count: 1 }
  if (course.bucketMs !== null) fold(course, mark, course.bucketMs)
  else if (atMs > course.newestMs) course.marks.push(mark)
  else insert(course.marks, mark)
  course.newestMs = Math.max(course.newestMs, atMs)
}

function fold(course: Course, sample: Mark, bucketMs: number): void {
  // A sample that came before the newest may be in its bucket already; counting it twice is worse than not at all.
  if (sample.atMs <= course.newestMs) return
  const startMs = bucketStart(sample.atMs, bucketMs)
  const last = course.marks.at(-1)
  if (!last || last.atMs < startMs) course.marks.push({ ...sample, atMs: startMs })
  else if (last.atMs === startMs) {
    const count = last.count + 1
    const mean = last.mean + (sample.mean - last.mean) / count
    const [low, high] = [Math.min(last.low, sample.low), Math.max(last.high, sample.high)]
    course.marks[course.marks.length - 1] = { atMs: startMs, mean, low, high, count }
  }
}

function insert(marks: Mark[], mark: Mark): void {
  const place = marks.findLastIndex((known) => known.atMs <= mark.atMs)
  if (marks[place]?.atMs === mark.atMs) return
  marks.splice(place + 1, 0, mark)
}

/** Forgets what has left the range, except for the last mark before it, so that the line enters from the edge. */
export function forgetBefore(course: Course, fromMs: number): void {
  const first = course.marks.findIndex((mark) => mark.atMs >= fromMs)
  if (first > 1) course.marks.splice(0, first - 1)
}

/** From which silence on the line breaks: three times the usual pause, or a bucket left out. */
export function gapMs(course: Course): number {
  if (course.bucketMs !== null) return course.bucketMs * 1.5
  const pauses = course.marks.slice(1).map((mark, index) => mark.atMs - (course.marks[index]?.atMs ?? 0))
  if (pauses.length === 0) return Number.POSITIVE_INFINITY
  const usual = pauses.sort((a, b) => a - b)[Math.floor(pauses.length / 2)] ?? 0
  return Math.max(SHORTEST_GAP_MS, 3 * usual)
}

/** Columns as the chart wants them: seconds, means, smallest, largest; null in all three where the line breaks. */
export interface Columns {
  seconds: number[]
  means: (number | null)[]
  lows: (number | null)[]
  highs: (number | null)[]
  gaps: number
}

export function columnsOf(course: Course): Columns {
  const limitMs = gapMs(course)
  const columns: Columns = { seconds: [], means: [], lows: [], highs: [], gaps: 0 }
  let beforeMs: number | null = null
  for (const { atMs, mean, low, high } of course.marks) {
    if (beforeMs !== null && atMs - beforeMs > limitMs) {
      put(columns, (beforeMs + 1) / 1000, null, null, null)
      columns.gaps += 1
    }
    put(columns, atMs / 1000, mean, low, high)
    beforeMs = atMs
  }
  return columns
}

function put(
  columns: Columns,
  second: number,
  mean: number | null,
  low: number | null,
  high: number | null,
): void {
  columns.seconds.push(second)
  columns.means.push(mean)
  columns.lows.push(low)
  columns.highs.push(high)
}
