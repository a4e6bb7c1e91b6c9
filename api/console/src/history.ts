// Fetches a metric's course from the node: every sample where few enough are in the range, else finished buckets and
// the samples of the one that is still open.

import { ask, BUCKETS, HISTORY, type Bucket, type Sample } from './graphql'
import { bucketStart, courseOf, intervalText, type Course, type Range } from './telemetry'

/** More samples than this in a range are shown as buckets. */
const MOST_SAMPLES = 20_000
const FALLBACK_BUCKET_MS = 60_000
/** A device's clock may run ahead of the node's by this much and still be on the chart. */
const AHEAD_MS = 60_000

/** The course of one metric over the range that ends now. */
export async function fetchCourse(id: string, metric: string, range: Range, nowMs: number): Promise<Course> {
  if (range.bucketMs !== null) return bucketed(id, metric, range.spanMs, range.bucketMs, nowMs)
  const samples = await fetchSamples(id, metric, nowMs - range.spanMs, nowMs)
  if (samples.length < MOST_SAMPLES) return courseOf(null, [], samples)
  return bucketed(id, metric, range.spanMs, FALLBACK_BUCKET_MS, nowMs)
}

async function bucketed(
  id: string,
  metric: string,
  spanMs: number,
  bucketMs: number,
  nowMs: number,
): Promise<Course> {
  const openMs = bucketStart(nowMs, bucketMs)
  const variables = {
    id,
    metric,
    from: rfc3339(bucketStart(nowMs - spanMs, bucketMs)),
    to: rfc3339(openMs),
    interval: intervalText(bucketMs),
  }
  const [finished, open] = await Promise.all([
    ask<{ deviceTelemetryAggregated: Bucket[] }>(BUCKETS, variables),
    fetchSamples(id, metric, openMs, nowMs),
  ])
  return courseOf(bucketMs, finished.data.deviceTelemetryAggregated, open)
}

/** Every sample from `fromMs` to now, up to the bound. */
export async function fetchSamples(
  id: string,
  metric: string,
  fromMs: number,
  nowMs: number,
): Promise<Sample[]> {
  const variables = { id, metric, from: rfc3339(fromMs), to: rfc3339(nowMs + AHEAD_MS), limit: MOST_SAMPLES }
  const { data } = await ask<{ deviceTelemetry: { points: Sample[] } }>(HISTORY, variables)
  return data.deviceTelemetry.points
}

function rfc3339(ms: number): string {
  return new Date(ms).toISOString()
}
