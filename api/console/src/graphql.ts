// The node's GraphQL as this page uses it: one query for everything on screen, one mutation, both typed by hand.
// Keep the selections and the interfaces side by side; the node's schema is the truth for both.

export type DeviceState = 'ONLINE' | 'OFFLINE' | 'PARKED' | 'QUARANTINED' | 'DISABLED'

export interface NodeInfo {
  name: string
  version: string
  startedAt: string
  ready: boolean
}

export interface MetricValue {
  name: string
  value: number
  unit: string | null
  time: string
}

export interface Device {
  id: string
  name: string
  type: string
  state: DeviceState
  lastSeen: string | null
  readings: number
  latest: MetricValue[]
  attributes: Record<string, unknown> | null
}

export interface Actor {
  path: string
  parent: string | null
  kind: string
  supervisor: boolean
  status: string
  incarnation: number
  restarts: number
  since: string | null
  nextTry: string | null
  lastReason: string | null
}

export interface SupervisionEvent {
  time: string
  event: string
  path: string
  kind: string
  incarnation: number
  restarts: number
  reason: string | null
  reasonKind: string | null
  delayMs: number | null
}

export interface LedgerRow {
  deviceId: string | null
  received: number
  stored: number
  duplicate: number
  rejected: number
  rejectedByReason: { reason: string; count: number }[]
  deadLettered: number
  pending: number
}

export interface Snapshot {
  node: NodeInfo
  devices: Device[]
  supervisionTree: Actor[]
  supervisionEvents: SupervisionEvent[]
  ledger: LedgerRow[]
}

export const SNAPSHOT = `query Console {
  node { name version startedAt ready }
  devices { id name type state lastSeen readings latest { name value unit time } attributes }
  supervisionTree { path parent kind supervisor status incarnation restarts since nextTry lastReason }
  supervisionEvents(limit: 30) { time event path kind incarnation restarts reason reasonKind delayMs }
  ledger { deviceId received stored duplicate rejected rejectedByReason { reason count } deadLettered pending }
}`

export const KILL = `mutation Kill($path: String!) {
  killActor(path: $path) { path status incarnation restarts }
}`

export type KilledActor = Pick<Actor, 'path' | 'status' | 'incarnation' | 'restarts'>

/** The node answered, and said no. */
export class Refused extends Error {
  override name = 'Refused'
}

/** The node did not answer, or not in GraphQL: what became of the request is unknown. */
export class Unreachable extends Error {
  override name = 'Unreachable'
}

/** An answer, with what is needed to compare the node's clock with ours. */
export interface Answer<T> {
  data: T
  /** The answer's Date header, whole seconds, as UTC milliseconds. */
  nodeDateMs: number | null
  sentMs: number
  receivedMs: number
}

const TIMEOUT_MS = 8_000

/** Asks the node; throws `Refused` or `Unreachable`. */
export async function ask<T>(query: string, variables: Record<string, unknown> = {}): Promise<Answer<T>> {
  const sentMs = Date.now()
  const { response, body } = await post(JSON.stringify({ query, variables }))
  const { data, errors } = body as { data?: T | null; errors?: { message: string }[] }
  if (errors?.length) throw new Refused(errors.map((error) => error.message).join('; '))
  if (data === undefined || data === null) throw new Unreachable(`HTTP ${response.status}`)
  const date = Date.parse(response.headers.get('date') ?? '')
  return { data, nodeDateMs: Number.isNaN(date) ? null : date, sentMs, receivedMs: Date.now() }
}

async function post(body: string): Promise<{ response: Response; body: unknown }> {
  let status = 'no answer'
  try {
    const response = await fetch('/graphql', {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'application/json' },
      body,
      cache: 'no-store',
      signal: AbortSignal.timeout(TIMEOUT_MS),
    })
    status = `HTTP ${response.status}`
    const answer: unknown = await response.json()
    if (typeof answer !== 'object' || answer === null) throw new TypeError('no object')
    return { response, body: answer }
  } catch (error) {
    const timedOut = error instanceof DOMException && error.name === 'TimeoutError'
    throw new Unreachable(timedOut ? `no answer within ${TIMEOUT_MS / 1000} s` : status, { cause: error })
  }
}
