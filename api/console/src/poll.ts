// Asks again and again, never twice at once: a second after the last answer, slower while there is none, not at all
// while nobody looks. Knows nothing of what is asked.

export const INTERVAL_MS = 1_000
export const SLOWEST_MS = 15_000

export interface PollState {
  /** Questions in a row that failed. */
  failures: number
  /** When the next question is due, in UTC milliseconds; null while one is open or the page is hidden. */
  nextMs: number | null
}

export interface Poller {
  /** Asks at once, or as soon as the open question is answered. */
  now(): void
  /** Pauses while hidden; asks at once when shown again. */
  setHidden(hidden: boolean): void
  stop(): void
}

/** How long to wait after this many failures in a row: doubles from one second to fifteen. */
export function waitMs(failures: number): number {
  if (failures === 0) return INTERVAL_MS
  return Math.min(INTERVAL_MS * 2 ** (failures - 1), SLOWEST_MS)
}

/** Starts asking. `question` resolves when answered and rejects when not. */
export function startPolling(question: () => Promise<void>, onChange: (state: PollState) => void): Poller {
  let timer: ReturnType<typeof setTimeout> | undefined
  let open = false
  let again = false
  let hidden = false
  let stopped = false
  let failures = 0

  async function run(): Promise<void> {
    clearTimeout(timer)
    if (stopped || hidden) return
    if (open) {
      again = true
      return
    }
    open = true
    onChange({ failures, nextMs: null })
    const startedMs = Date.now()
    try {
      await question()
      failures = 0
    } catch {
      failures += 1
    }
    open = false
    schedule(startedMs)
  }

  function schedule(startedMs: number): void {
    if (stopped || hidden) {
      if (!stopped) onChange({ failures, nextMs: null })
      return
    }
    // A slow node is asked less often: the pause is never shorter than half the time its answer took.
    const tookMs = Date.now() - startedMs
    const pauseMs = again ? 0 : failures > 0 ? waitMs(failures) : Math.max(INTERVAL_MS - tookMs, tookMs / 2)
    again = false
    timer = setTimeout(() => void run(), pauseMs)
    onChange({ failures, nextMs: Date.now() + pauseMs })
  }

  void run()
  return {
    now: () => void run(),
    setHidden(value) {
      const shown = hidden && !value
      hidden = value
      if (hidden) clearTimeout(timer)
      if (shown) void run()
    },
    stop() {
      stopped = true
      clearTimeout(timer)
    },
  }
}
