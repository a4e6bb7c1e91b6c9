// What the node sends by itself, over one WebSocket: opened with the first watch, opened again for as long as anybody
// watches, closed with the last. What was missed in between is the watcher's to fetch, so it is told of each opening.

import { createClient, type Client } from 'graphql-ws'

import { waitMs } from './poll'

export interface Stream {
  /** Watches until the function it returns is called; `onNext` gets the data of each message. */
  watch<T>(
    query: string,
    variables: Record<string, unknown>,
    onNext: (data: T) => void,
    onMissed: () => void,
  ): () => void
  /** Tries again at once if it waits to. */
  retry(): void
  stop(): void
}

/** A silent connection is asked whether it lives this often, and given up after as long again. */
const PING_MS = 10_000
/** A watch that was refused is asked for again after this long. */
const REFUSED_MS = 5_000

/** Opens the stream when something is watched; `onOpen` is called each time it stands. */
export function openStream(onOpen: () => void, onClose: () => void): Stream {
  let wake: () => void = () => {}
  let failures = 0
  let silence: ReturnType<typeof setTimeout> | undefined
  const client: Client = createClient({
    url: new URL('/graphql', location.href).href.replace(/^http/, 'ws'),
    retryAttempts: Number.POSITIVE_INFINITY,
    shouldRetry: () => true,
    retryWait: () => {
      failures += 1
      return new Promise((resolve) => {
        const timer = setTimeout(resolve, waitMs(failures))
        wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    },
    keepAlive: PING_MS,
    on: {
      connected: () => {
        failures = 0
        onOpen()
      },
      closed: () => {
        clearTimeout(silence)
        onClose()
      },
      ping: (received) => {
        if (!received) silence = setTimeout(() => client.terminate(), PING_MS)
      },
      pong: (received) => {
        if (received) clearTimeout(silence)
      },
    },
  })
  return {
    watch<T>(
      query: string,
      variables: Record<string, unknown>,
      onNext: (data: T) => void,
      onMissed: () => void,
    ) {
      let stopped = false
      let stop: () => void = () => {}
      let timer: ReturnType<typeof setTimeout> | undefined
      // Nobody but the watcher ends a watch: the node may have refused a device that it did not know yet.
      const ended = (): void => {
        if (stopped) return
        clearTimeout(timer)
        timer = setTimeout(begin, REFUSED_MS)
        onMissed()
      }
      const begin = (): void => {
        stop = client.subscribe<T>(
          { query, variables },
          {
            // The node says so with an error when we were too slow for it, and then goes on.
            next: ({ data, errors }) => (errors?.length || !data ? onMissed() : onNext(data)),
            error: ended,
            complete: ended,
          },
        )
      }
      begin()
      return () => {
        stopped = true
        clearTimeout(timer)
        stop()
      }
    },
    retry: () => wake(),
    stop: () => void client.dispose(),
  }
}
