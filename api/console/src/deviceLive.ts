// One device's page as it lives: its values by the stream as they come and by the page's snapshot once a second, what
// only this page shows asked for again with the snapshots, and the courses for the chart.

import { computed, onScopeDispose, ref, shallowRef, watch } from 'vue'

import { useCourses, type LiveSample } from './charting'
import { defaultMetrics } from './device'
import { ask, DEVICE_PAGE, DEVICE_UPDATED, TELEMETRY, type Device, type DevicePage } from './graphql'
import type { Live } from './live'
import { openStream } from './stream'

const DAY_MS = 86_400_000
/** Alerts older than this are history for other tools. */
export const ALERT_DAYS = 30

export function useDevice(id: string, live: Live) {
  const device = shallowRef<Device | null>(null)
  const page = shallowRef<DevicePage | null>(null)
  const streaming = ref(false)
  const courses = useCourses(id, live.nowMs)
  let asking = false
  /** The first metrics a device shows are charted; which ones from then on is the reader's choice. */
  let chosenOnce = false

  const unknown = computed(() => live.snapshot.value !== null && device.value === null)

  /** Shows what came last; an answer that was under way while the stream was faster is not gone back to. */
  function show(next: Device): void {
    const shown = device.value
    const older = shown !== null && shown.lastSeen !== null && (next.lastSeen ?? '') < shown.lastSeen
    if (older && next.state === shown.state) return
    device.value = next
    if (!chosenOnce && next.latest.length > 0) {
      chosenOnce = true
      courses.chosen.value = defaultMetrics(next)
    }
  }

  async function askPage(): Promise<void> {
    if (asking || device.value === null) return
    asking = true
    const now = live.nowMs.value
    const variables = {
      id,
      path: page.value?.device?.actorPath ?? '',
      from: new Date(now - ALERT_DAYS * DAY_MS).toISOString(),
      to: new Date(now + DAY_MS).toISOString(),
    }
    try {
      page.value = (await ask<DevicePage>(DEVICE_PAGE, variables)).data
    } catch {
      // The snapshot tells of a lost connection, and its next answer asks for this again.
    } finally {
      asking = false
    }
    // Its events are named by its actor's path, which the first answer tells.
    if (variables.path === '' && page.value?.device) void askPage()
  }

  watch(
    live.snapshot,
    (snapshot) => {
      const found = snapshot?.devices.find((one) => one.id === id)
      if (found) show(found)
      else if (snapshot) device.value = null
      void askPage()
    },
    { immediate: true },
  )

  const stream = openStream(
    () => {
      streaming.value = true
      courses.opened()
    },
    () => (streaming.value = false),
  )
  let stops: (() => void)[] = []
  watch(
    () => device.value !== null,
    (known) => {
      for (const stop of stops) stop()
      // A device that the fleet does not know cannot be watched; it is as soon as it appears.
      stops = known ? watchDevice() : []
    },
    { immediate: true },
  )

  function watchDevice(): (() => void)[] {
    const updated = (data: { deviceUpdated: Device }): void => {
      const changed = data.deviceUpdated.state !== device.value?.state
      show(data.deviceUpdated)
      if (changed) void askPage()
    }
    const received = (data: { telemetryReceived: LiveSample }): void => courses.take(data.telemetryReceived)
    return [
      stream.watch(TELEMETRY, { id }, received, courses.missed),
      stream.watch(DEVICE_UPDATED, { id }, updated, () => {}),
    ]
  }

  // Once the node answers again there is no reason to wait out the stream's own patience.
  watch(live.connection, (connection) => {
    if (connection === 'live') stream.retry()
  })
  onScopeDispose(() => {
    for (const stop of stops) stop()
    stream.stop()
  })

  return { device, page, streaming, unknown, courses }
}

export type DeviceLive = ReturnType<typeof useDevice>
