// The courses on a device's page: fetched once, then moved on by what the node sends, and filled from history again
// wherever the stream was interrupted. `version` rises when there is something new to draw.

import { computed, onScopeDispose, ref, shallowRef, watch, type Ref } from 'vue'

import { fetchCourse, fetchSamples } from './history'
import { append, emptyCourse, forgetBefore, RANGES, type Course, type RangeKey } from './telemetry'

export interface LiveSample {
  time: string
  value: number
  metricName: string
}

/** Follows the chosen metrics of a device over the chosen range. */
export function useCourses(id: string, nowMs: Ref<number>) {
  const rangeKey = ref<RangeKey>('15min')
  const chosen = ref<string[]>([])
  const courses = shallowRef(new Map<string, Course>())
  const version = ref(0)
  const waiting = ref(0)
  const problem = ref<string | null>(null)
  /** Samples that came while their course was being fetched. */
  const early = new Map<string, LiveSample[]>()
  /** Courses that must be filled once they are fetched. */
  const again = new Set<string>()
  /** Answers to a question that is no longer asked are thrown away. */
  let generation = 0
  let unconfirmed = true
  let frame = 0

  const range = computed(() => RANGES[rangeKey.value])

  function changed(): void {
    if (frame !== 0) return
    frame = requestAnimationFrame(() => {
      frame = 0
      version.value += 1
    })
  }

  async function fetchOne(metric: string): Promise<void> {
    const asked = generation
    early.set(metric, [])
    waiting.value += 1
    try {
      const course = await fetchCourse(id, metric, range.value, nowMs.value)
      if (asked !== generation) return
      for (const { time, value } of early.get(metric) ?? []) append(course, Date.parse(time), value)
      courses.value.set(metric, course)
      problem.value = null
      changed()
    } catch (error) {
      if (asked === generation) problem.value = error instanceof Error ? error.message : String(error)
    } finally {
      if (asked === generation) early.delete(metric)
      waiting.value -= 1
      if (again.delete(metric)) void fill(metric)
    }
  }

  function refetch(): void {
    generation += 1
    early.clear()
    again.clear()
    for (const metric of chosen.value) void fetchOne(metric)
  }

  /** Adds to a course what the history has and the stream did not bring. */
  async function fill(metric: string): Promise<void> {
    if (early.has(metric)) return void again.add(metric)
    const course = courses.value.get(metric)
    if (!course || course.bucketMs !== null) return fetchOne(metric)
    const asked = generation
    const fromMs = Math.max(nowMs.value - range.value.spanMs, course.newestMs - OVERLAP_MS)
    try {
      const samples = await fetchSamples(id, metric, fromMs, nowMs.value)
      if (asked !== generation) return
      for (const { time, value } of samples) append(course, Date.parse(time), value)
      changed()
    } catch {
      // The connection went again: its next opening fills.
    }
  }

  function fillAll(): void {
    for (const metric of chosen.value) void fill(metric)
  }

  function take(sample: LiveSample): void {
    if (unconfirmed) {
      // Only now is it certain that nothing is missed from here on, so what came in the meantime is asked for.
      unconfirmed = false
      fillAll()
    }
    early.get(sample.metricName)?.push(sample)
    const course = courses.value.get(sample.metricName)
    if (!course) return
    append(course, Date.parse(sample.time), sample.value)
    forgetBefore(course, nowMs.value - range.value.spanMs)
    if (chosen.value.includes(sample.metricName)) changed()
  }

  watch(rangeKey, () => {
    courses.value = new Map()
    refetch()
    changed()
  })
  watch(chosen, (now, before) => {
    for (const metric of now) if (!before.includes(metric)) void fetchOne(metric)
    for (const metric of before) if (!now.includes(metric)) courses.value.delete(metric)
    changed()
  })
  onScopeDispose(() => {
    generation += 1
    cancelAnimationFrame(frame)
  })

  return {
    rangeKey,
    range,
    chosen,
    version,
    problem,
    loading: computed(() => waiting.value > 0),
    courseOf: (metric: string): Course => courses.value.get(metric) ?? emptyCourse(range.value.bucketMs),
    refetch,
    take,
    /** The stream stands (again): what it did not bring is in the history. */
    opened(): void {
      unconfirmed = true
      fillAll()
    },
    /** The node told that we were too slow for the stream. */
    missed: fillAll,
  }
}

/** A little more than what is missing is asked for: samples of one moment may arrive on both sides of a break. */
const OVERLAP_MS = 5_000

export type Courses = ReturnType<typeof useCourses>
