// The page's one source of truth: the last snapshot, how the connection stands, what time it is at the node, and the
// kills under way. Components read it and call its few verbs; none of them asks the node itself.

import { computed, onScopeDispose, ref, shallowRef } from 'vue'

import { sendVerdict, withOrder, type Orders, type Verdict } from './adoption'
import { narrow, offsetMs, rangeOf, type ClockRange } from './clock'
import { ask, Refused, SNAPSHOT, type Snapshot } from './graphql'
import { follow, sendKill, withKill, withoutKill, type Kills } from './kills'
import { Pace } from './pace'
import { INTERVAL_MS, startPolling, type PollState } from './poll'

/** How often ages on screen move on. */
const TICK_MS = 500
/** From this many devices on, ages move with the answers only: drawing them twice as often costs more than it tells. */
const MANY_DEVICES = 200

export type Connection = 'connecting' | 'live' | 'lost'

/** Starts the page's heart; it stops with the component that called it. */
export function useLive() {
  const snapshot = shallowRef<Snapshot | null>(null)
  const rate = ref<number | null>(null)
  const poll = shallowRef<PollState>({ failures: 0, nextMs: null })
  const problem = ref<{ refused: boolean; message: string } | null>(null)
  const answeredMs = ref<number | null>(null)
  const kills = shallowRef<Kills>({})
  const orders = shallowRef<Orders>({})
  const localMs = ref(Date.now())
  const clock = shallowRef<ClockRange | null>(null)
  const pace = new Pace()

  const connection = computed<Connection>(() => {
    if (problem.value) return 'lost'
    return snapshot.value === null ? 'connecting' : 'live'
  })
  const nowMs = computed(() => localMs.value + offsetMs(clock.value))

  async function refresh(): Promise<void> {
    try {
      const answer = await ask<Snapshot>(SNAPSHOT)
      if (answer.nodeDateMs !== null) {
        clock.value = narrow(clock.value, rangeOf(answer.nodeDateMs, answer.sentMs, answer.receivedMs))
      }
      take(answer.data, answer.receivedMs)
    } catch (error) {
      pace.breakOff()
      rate.value = null
      problem.value = {
        refused: error instanceof Refused,
        message: String((error as Error).message ?? error),
      }
      throw error
    }
  }

  function take(next: Snapshot, receivedMs: number): void {
    if (snapshot.value && snapshot.value.node.startedAt !== next.node.startedAt) {
      // Another process: its actors count from one again, so kills of the old one have no end to wait for.
      kills.value = {}
      orders.value = {}
      pace.breakOff()
    }
    problem.value = null
    answeredMs.value = receivedMs
    localMs.value = receivedMs
    pace.watch(next.devices, performance.now())
    rate.value = pace.readingsPerSecond()
    kills.value = follow(kills.value, next.supervisionTree, receivedMs)
    snapshot.value = next
  }

  function tick(): void {
    const many = (snapshot.value?.devices.length ?? 0) > MANY_DEVICES
    if (many && connection.value === 'live' && Date.now() - localMs.value < 2 * INTERVAL_MS) return
    localMs.value = Date.now()
  }

  const poller = startPolling(refresh, (state) => (poll.value = state))
  const onVisible = (): void => {
    // What a hidden page missed is no rate.
    if (document.hidden) pace.breakOff()
    poller.setHidden(document.hidden)
  }
  const onOnline = (): void => poller.now()
  document.addEventListener('visibilitychange', onVisible)
  window.addEventListener('online', onOnline)
  const ticker = setInterval(tick, TICK_MS)
  onScopeDispose(() => {
    poller.stop()
    clearInterval(ticker)
    document.removeEventListener('visibilitychange', onVisible)
    window.removeEventListener('online', onOnline)
  })

  return {
    snapshot,
    connection,
    problem,
    poll,
    rate,
    answeredMs,
    localMs,
    nowMs,
    kills,
    orders,
    usualPauseMs: (id: string): number | null => pace.usualPauseMs(id),
    retry: (): void => poller.now(),
    askKill: (path: string): void => void (kills.value = withKill(kills.value, path, { phase: 'asking' })),
    dropKill: (path: string): void => void (kills.value = withoutKill(kills.value, path)),
    async kill(path: string): Promise<void> {
      kills.value = withKill(kills.value, path, { phase: 'sending' })
      kills.value = withKill(kills.value, path, await sendKill(path))
      poller.now()
    },
    async decide(id: string, verdict: Verdict): Promise<void> {
      orders.value = withOrder(orders.value, id, { phase: 'sending', verdict })
      orders.value = withOrder(orders.value, id, await sendVerdict(id, verdict))
      poller.now()
    },
  }
}

export type Live = ReturnType<typeof useLive>
