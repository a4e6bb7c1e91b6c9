// How fast devices speak, learnt by watching: the node's readings per second, and each device's usual pause, by which
// a value that has stopped moving is told from one that is just slow.

import type { Device } from './graphql'

/** A value is not called stale before this age, however fast its device usually is. */
export const PATIENCE_MS = 5_000
/** Before a device's pace is known, it gets this long. */
export const STRANGER_PATIENCE_MS = 15_000
const WINDOW_MS = 10_000
const LONGEST_PAUSE_MS = 600_000

interface Sample {
  atMs: number
  added: number
}

interface Heard {
  readings: number
  seenMs: number | null
  pauseMs: number | null
}

/** Watches snapshots go by. */
export class Pace {
  private heard = new Map<string, Heard>()
  private samples: Sample[] = []

  /** Takes a snapshot's devices; `atMs` is when it arrived, by any clock that never jumps. */
  watch(devices: Device[], atMs: number): void {
    let added = 0
    const known = this.heard
    this.heard = new Map()
    for (const device of devices) {
      const before = known.get(device.id)
      // A count that fell means that the node started over, not that readings were taken back.
      if (before) added += Math.max(0, device.readings - before.readings)
      this.heard.set(device.id, follow(before, device))
    }
    this.samples.push({ atMs, added })
    while (this.samples.length > 2 && atMs - (this.samples[0]?.atMs ?? atMs) > WINDOW_MS) this.samples.shift()
  }

  /** Readings per second over the last ten seconds; null until two snapshots are there. */
  readingsPerSecond(): number | null {
    const first = this.samples[0]
    const last = this.samples.at(-1)
    if (!first || !last || last.atMs - first.atMs < 500) return null
    const added = this.samples.slice(1).reduce((sum, sample) => sum + sample.added, 0)
    return (added * 1000) / (last.atMs - first.atMs)
  }

  /** How long this device usually pauses between readings; null until it was heard twice. */
  usualPauseMs(id: string): number | null {
    return this.heard.get(id)?.pauseMs ?? null
  }

  /** Forgets the rate: after a gap without answers it would count the whole gap's readings as one second's. */
  breakOff(): void {
    this.samples = []
  }
}

function follow(before: Heard | undefined, device: Device): Heard {
  const seenMs = device.lastSeen === null ? null : Date.parse(device.lastSeen)
  const now: Heard = { readings: device.readings, seenMs, pauseMs: before?.pauseMs ?? null }
  if (!before || before.seenMs === null || seenMs === null || seenMs <= before.seenMs) return now
  // Several readings may have come between two looks, so the time is shared among them.
  const pauseMs = (seenMs - before.seenMs) / Math.max(1, device.readings - before.readings)
  const usual = before.pauseMs === null ? pauseMs : before.pauseMs * 0.7 + pauseMs * 0.3
  return { ...now, pauseMs: Math.min(usual, LONGEST_PAUSE_MS) }
}

/** Whether a value of this age has stopped moving, for a device with this usual pause. */
export function isStale(ageMs: number, usualPauseMs: number | null): boolean {
  const patience = usualPauseMs === null ? STRANGER_PATIENCE_MS : Math.max(PATIENCE_MS, 3 * usualPauseMs)
  return ageMs > patience
}
