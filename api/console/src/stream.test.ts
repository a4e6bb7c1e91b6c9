import { afterEach, beforeEach, expect, it, vi } from 'vitest'

import { openStream, type Stream } from './stream'

interface Message {
  id?: string
  type: string
  payload?: unknown
}

/** The node's side of a WebSocket, played by the test. */
class Socket {
  static CONNECTING = 0
  static OPEN = 1
  static CLOSING = 2
  static CLOSED = 3
  static opened: Socket[] = []
  protocol = 'graphql-transport-ws'
  readyState = 1
  sent: Message[] = []
  onopen: () => void = () => {}
  onclose: ((event: unknown) => void) | null = null
  onmessage: (event: { data: string }) => void = () => {}
  onerror: () => void = () => {}
  constructor() {
    Socket.opened.push(this)
    setTimeout(() => this.onopen())
  }
  send(text: string): void {
    const message = JSON.parse(text) as Message
    this.sent.push(message)
    if (message.type === 'connection_init') this.say({ type: 'connection_ack' })
  }
  say(message: Message): void {
    setTimeout(() => this.onmessage({ data: JSON.stringify(message) }))
  }
  close(code = 1000, reason = ''): void {
    this.readyState = 3
    setTimeout(() => this.onclose?.({ code, reason, wasClean: true }))
  }
  subscriptions(): Message[] {
    return this.sent.filter(({ type }) => type === 'subscribe')
  }
}

let stream: Stream
let told: string[]
let stops: (() => void)[]

beforeEach(() => {
  vi.useFakeTimers()
  Socket.opened = []
  told = []
  stops = []
  vi.stubGlobal('WebSocket', Socket)
  stream = openStream(
    () => told.push('open'),
    () => told.push('closed'),
  )
})

afterEach(async () => {
  for (const stop of stops) stop()
  stream.stop()
  await vi.advanceTimersByTimeAsync(1_000)
  vi.unstubAllGlobals()
  vi.useRealTimers()
})

async function watch(): Promise<() => void> {
  const stop = stream.watch<{ n: number }>(
    'subscription { n }',
    {},
    ({ n }) => told.push(String(n)),
    () => told.push('missed'),
  )
  stops.push(stop)
  await vi.advanceTimersByTimeAsync(100)
  return stop
}

it('watches, and tells what came and what was missed', async () => {
  await watch()
  const socket = Socket.opened[0]
  const id = socket?.subscriptions()[0]?.id ?? ''
  socket?.say({ id, type: 'next', payload: { data: { n: 1 } } })
  socket?.say({ id, type: 'next', payload: { data: null, errors: [{ message: 'LAGGED' }] } })
  socket?.say({ id, type: 'next', payload: { data: { n: 2 } } })
  await vi.advanceTimersByTimeAsync(10)
  expect(told).toEqual(['open', '1', 'missed', '2'])
})

it('opens a broken connection again and watches on, at once if told that the node answers', async () => {
  await watch()
  Socket.opened[0]?.close(1006)
  await vi.advanceTimersByTimeAsync(10)
  expect(told).toEqual(['open', 'closed'])
  expect(Socket.opened).toHaveLength(1)
  stream.retry()
  await vi.advanceTimersByTimeAsync(100)
  expect(told).toEqual(['open', 'closed', 'open'])
  expect(Socket.opened[1]?.subscriptions()).toHaveLength(1)
})

it('what the node refused is asked for again, until nobody wants it', async () => {
  const stop = await watch()
  const socket = Socket.opened[0]
  const refuse = (): void => {
    const id = socket?.subscriptions().at(-1)?.id ?? ''
    socket?.say({ id, type: 'error', payload: [{ message: 'unknown device' }] })
  }
  await watch()
  refuse()
  await vi.advanceTimersByTimeAsync(6_000)
  expect(told).toEqual(['open', 'missed'])
  expect(socket?.subscriptions()).toHaveLength(3)
  stop()
  await vi.advanceTimersByTimeAsync(20_000)
  expect(socket?.subscriptions()).toHaveLength(3)
})

it('a connection that no longer answers is given up and opened again', async () => {
  await watch()
  await vi.advanceTimersByTimeAsync(25_000)
  expect(Socket.opened[0]?.sent.some(({ type }) => type === 'ping')).toBe(true)
  expect(told.slice(0, 3)).toEqual(['open', 'closed', 'open'])
})
