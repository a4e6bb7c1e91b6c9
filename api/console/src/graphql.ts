// The node's GraphQL as this page uses it: one query for everything on screen, one mutation, both typed by hand.
// Keep the selections and the interfaces side by side; the node's schema is the truth for both.

import { texts } from './texts'

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

/** Somebody who publishes and is no device: it waits to be adopted, or was sent away. */
export interface Candidate {
  id: string
  name: string
  firstSeen: string | null
  lastSeen: string | null
  /** Messages turned away since the node started. */
  messages: number
  ignored: boolean
}

export interface StateChange {
  state: DeviceState
  since: string
  reason: string | null
}

/** What only a device's own page shows of it. */
export interface DeviceFacts {
  site: string | null
  labels: Record<string, unknown> | null
  createdAt: string
  actorPath: string
  stateHistory: StateChange[]
}

export interface Alert {
  id: string
  severity: 'INFO' | 'WARNING' | 'CRITICAL'
  status: 'ACTIVE' | 'ACKNOWLEDGED' | 'RESOLVED'
  title: string
  message: string | null
  metricName: string | null
  metricValue: number | null
  threshold: number | null
  triggeredAt: string
  resolvedAt: string | null
}

/** The answer to what a device's page asks beyond the snapshot; `device` is null where the fleet knows none. */
export interface DevicePage {
  device: DeviceFacts | null
  active: Alert[]
  past: Alert[]
  events: SupervisionEvent[]
}

/** A sample as it comes from the history and from the live stream. */
export interface Sample {
  time: string
  value: number
}

export interface Bucket {
  bucket: string
  avg: number
  min: number
  max: number
  count: number
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
  rejectedByReason: ReasonCount[]
  deadLettered: number
  pending: number
  metricsLeftOut: ReasonCount[]
}

export interface ReasonCount {
  reason: string
  count: number
}

export interface Snapshot {
  node: NodeInfo
  devices: Device[]
  deviceCandidates: Candidate[]
  supervisionTree: Actor[]
  supervisionEvents: SupervisionEvent[]
  ledger: LedgerRow[]
}

export const SNAPSHOT = `query Console {
  node { name version startedAt ready }
  devices { id name type state lastSeen readings latest { name value unit time } attributes }
  deviceCandidates { id name firstSeen lastSeen messages ignored }
  supervisionTree { path parent kind supervisor status incarnation restarts since nextTry lastReason }
  supervisionEvents(limit: 30) { time event path kind incarnation restarts reason reasonKind delayMs }
  ledger { deviceId received stored duplicate rejected rejectedByReason { reason count } deadLettered pending
    metricsLeftOut { reason count } }
}`

export const DEVICE_PAGE = `query Device($id: ID!, $path: String!, $from: String!, $to: String!) {
  device(id: $id) { site labels createdAt actorPath stateHistory(limit: 50) { state since reason } }
  active: activeAlerts(deviceId: $id) { ...Told }
  past: alertHistory(deviceId: $id, from: $from, to: $to, limit: 50) { ...Told }
  events: supervisionEvents(limit: 50, path: $path) {
    time event path kind incarnation restarts reason reasonKind delayMs
  }
}
fragment Told on Alert {
  id severity status title message metricName metricValue threshold triggeredAt resolvedAt
}`

export const HISTORY = `query History($id: ID!, $metric: String!, $from: String!, $to: String!, $limit: Int!) {
  deviceTelemetry(deviceId: $id, metricName: $metric, from: $from, to: $to, limit: $limit) {
    points { time value }
  }
}`

export const BUCKETS = `query Buckets($id: ID!, $metric: String!, $from: String!, $to: String!, $interval: String!) {
  deviceTelemetryAggregated(deviceId: $id, metricName: $metric, from: $from, to: $to, interval: $interval) {
    bucket avg min max count
  }
}`

export const TELEMETRY = `subscription Telemetry($id: ID!) {
  telemetryReceived(deviceId: $id) { time value unit metricName }
}`

export const DEVICE_UPDATED = `subscription DeviceUpdated($id: ID!) {
  deviceUpdated(deviceId: $id) {
    id name type state lastSeen readings latest { name value unit time } attributes
  }
}`

export const KILL = `mutation Kill($path: String!) {
  killActor(path: $path) { path status incarnation restarts }
}`

export const ADOPT = `mutation Adopt($id: ID!) {
  adoptDevice(id: $id, reason: "adopted in the console") { id }
}`

export const IGNORE = `mutation Ignore($id: ID!) {
  ignoreDevice(id: $id, reason: "sent away in the console")
}`

export const DISABLE = `mutation Disable($id: ID!, $reason: String!) {
  disableDevice(id: $id, reason: $reason) { id }
}`

export const ENABLE = `mutation Enable($id: ID!, $reason: String!) {
  enableDevice(id: $id, reason: $reason) { id }
}`

export const DELETE_DEVICE = `mutation Delete($id: ID!, $reason: String!) {
  deleteDevice(id: $id, reason: $reason) { id }
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
  let status = texts.connection.noAnswer
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
    throw new Unreachable(timedOut ? texts.connection.noAnswerWithin(String(TIMEOUT_MS / 1000)) : status, {
      cause: error,
    })
  }
}
