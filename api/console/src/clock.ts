// Ages are told by the node's clock: a phone that is three minutes slow must not show every battery as stale.
// The node's time is only known through HTTP's Date header, in whole seconds, so each answer gives an interval in
// which the difference lies. Answers narrow it; our own clock is believed until it is proven wrong.

export interface ClockRange {
  /** The node's clock minus ours is at least this. */
  lowMs: number
  /** … and at most this. */
  highMs: number
}

/** A Date header names the second that has begun, and servers renew it up to a second late. */
const DATE_STEP_MS = 2_000

/** What one answer says of the difference. */
export function rangeOf(nodeDateMs: number, sentMs: number, receivedMs: number): ClockRange {
  return { lowMs: nodeDateMs - receivedMs, highMs: nodeDateMs + DATE_STEP_MS - sentMs }
}

/** Both answers together; where they contradict each other a clock was set, and the newer one counts. */
export function narrow(known: ClockRange | null, newer: ClockRange): ClockRange {
  if (known === null) return newer
  const lowMs = Math.max(known.lowMs, newer.lowMs)
  const highMs = Math.min(known.highMs, newer.highMs)
  return lowMs <= highMs ? { lowMs, highMs } : newer
}

/** The smallest correction that agrees with what is known. */
export function offsetMs(range: ClockRange | null): number {
  if (range === null) return 0
  return Math.min(Math.max(0, range.lowMs), range.highMs)
}
