// Devices, actors and ledger rows for tests: everything quiet unless a test says otherwise.

import type { Actor, Candidate, Device, LedgerRow, MetricValue, Snapshot, SupervisionEvent } from './graphql'

export const NOW = '2026-01-15T10:30:00Z'

export function metric(name: string, value: number, unit: string | null = null, time = NOW): MetricValue {
  return { name, value, unit, time }
}

export function device(id: string, changes: Partial<Device> = {}): Device {
  const quiet: Device = {
    id,
    name: id,
    type: 'daly_bms',
    state: 'ONLINE',
    lastSeen: NOW,
    readings: 0,
    latest: [],
    attributes: {},
  }
  return { ...quiet, ...changes }
}

export function candidate(id: string, changes: Partial<Candidate> = {}): Candidate {
  return { id, name: id, firstSeen: NOW, lastSeen: NOW, messages: 1, ignored: false, ...changes }
}

export function actor(path: string, changes: Partial<Actor> = {}): Actor {
  const quiet: Actor = {
    path,
    parent: path.includes('/') ? path.slice(0, path.lastIndexOf('/')) : null,
    kind: 'daly_bms',
    supervisor: false,
    status: 'running',
    incarnation: 1,
    restarts: 0,
    since: NOW,
    nextTry: null,
    lastReason: null,
  }
  return { ...quiet, ...changes }
}

export function ledgerRow(changes: Partial<LedgerRow> = {}): LedgerRow {
  const empty: LedgerRow = {
    deviceId: null,
    received: 0,
    stored: 0,
    duplicate: 0,
    rejected: 0,
    rejectedByReason: [],
    deadLettered: 0,
    pending: 0,
    metricsLeftOut: [],
  }
  return { ...empty, ...changes }
}

export function event(changes: Partial<SupervisionEvent> = {}): SupervisionEvent {
  const quiet: SupervisionEvent = {
    time: NOW,
    event: 'started',
    path: 'node/devices/pack-1',
    kind: 'daly_bms',
    incarnation: 1,
    restarts: 0,
    reason: null,
    reasonKind: null,
    delayMs: null,
  }
  return { ...quiet, ...changes }
}

export function snapshot(changes: Partial<Snapshot> = {}): Snapshot {
  const quiet: Snapshot = {
    node: { name: 'garage', version: '0.1.0', startedAt: NOW, ready: true },
    devices: [],
    deviceCandidates: [],
    supervisionTree: [],
    supervisionEvents: [],
    ledger: [],
  }
  return { ...quiet, ...changes }
}

/** Resolves once everything that an answer sets off has happened. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await Promise.resolve()
  await new Promise((resolve) => setTimeout(resolve))
}
