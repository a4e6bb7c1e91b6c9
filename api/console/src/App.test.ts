import { createApp, nextTick, type App as VueApp } from 'vue'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'

import App from './App.vue'
import { actor, candidate, device, event, ledgerRow, metric, snapshot } from './fixtures'
import type { DevicePage, Snapshot } from './graphql'
import { chooseLanguage } from './texts'

// There is no canvas here; what the chart is given has its own tests.
vi.mock('./components/device/LaneChart.vue', () => ({ default: { template: '<div />' } }))

type Reply = { data?: unknown; errors?: { message: string }[] }

let app: VueApp | undefined
let node: {
  snapshot: Snapshot
  page: DevicePage
  killed: string[]
  down: boolean
  kill: (path: string) => Reply
}

beforeEach(() => {
  vi.useFakeTimers()
  const path = 'node/devices/pack-1'
  const now = new Date().toISOString()
  node = {
    snapshot: snapshot({
      devices: [
        device('pack-1', {
          latest: [metric('pack_current', -4, 'A', now), metric('soc_percent', 80, '%', now)],
          lastSeen: now,
        }),
        device('boat', { state: 'PARKED', lastSeen: null }),
      ],
      supervisionTree: [
        actor('node', { supervisor: true }),
        actor('node/devices', { supervisor: true }),
        actor(path),
      ],
      supervisionEvents: [event()],
      ledger: [ledgerRow({ received: 4, stored: 4 })],
    }),
    page: {
      device: {
        site: 'cellar',
        labels: { rack: '7' },
        createdAt: now,
        actorPath: path,
        stateHistory: [
          { state: 'ONLINE', since: now, reason: 'it answers' },
          { state: 'OFFLINE', since: '2026-01-01T00:00:00Z', reason: 'nothing heard for 30 s' },
        ],
      },
      active: [],
      past: [],
      events: [event({ event: 'restarted', path })],
    },
    killed: [],
    down: false,
    kill: () => ({ data: { killActor: { path, status: 'running', incarnation: 1, restarts: 0 } } }),
  }
  // A stream that never opens: what it brings is tested in the browser.
  vi.stubGlobal(
    'WebSocket',
    class {
      close(): void {}
    },
  )
  vi.stubGlobal('fetch', (_url: string, { body }: { body: string }) => {
    if (node.down) return Promise.reject(new TypeError('refused'))
    const { query, variables } = JSON.parse(body) as { query: string; variables: { path: string } }
    if (query.startsWith('query Device')) return answer({ data: node.page })
    if (query.startsWith('query History'))
      return answer({ data: { deviceTelemetry: { points: [{ time: new Date().toISOString(), value: 1 }] } } })
    if (!query.startsWith('mutation')) return answer({ data: node.snapshot })
    node.killed.push(variables.path)
    return answer(node.kill(variables.path))
  })
})

afterEach(() => {
  app?.unmount()
  vi.unstubAllGlobals()
  vi.useRealTimers()
  document.body.innerHTML = ''
  location.hash = ''
  chooseLanguage('en')
  localStorage.clear()
})

function answer(reply: Reply): Promise<Response> {
  return Promise.resolve(new Response(JSON.stringify(reply)))
}

async function open(): Promise<void> {
  document.body.innerHTML = '<div id="app"></div>'
  app = createApp(App)
  app.mount('#app')
  await pass(10)
}

async function pass(ms: number): Promise<void> {
  await vi.advanceTimersByTimeAsync(ms)
  await nextTick()
}

function find(testId: string): HTMLElement {
  const found = document.querySelector<HTMLElement>(`[data-testid="${testId}"]`)
  if (!found) throw new Error(`nothing has the test id ${testId}`)
  return found
}

async function click(testId: string): Promise<void> {
  find(testId).click()
  await pass(10)
}

it('shows the fleet, the actors, the events and the ledger', async () => {
  await open()
  expect(find('connection-state').dataset['state']).toBe('live')
  expect(find('fleet-row-pack-1').textContent).toContain('−4.0')
  expect(find('state-boat').textContent).toContain('Parked')
  expect(find('last-seen-boat').textContent).toContain('never')
  expect(find('last-seen-pack-1').dataset['time']).toBe(node.snapshot.devices[0]?.lastSeen)
  expect(find('actor-row-node/devices/pack-1').textContent).toContain('running')
  expect(find('ledger-stored').textContent).toBe('4')
  expect(document.title).toContain('garage')
})

it('who publishes and is no device is adopted by one click', async () => {
  node.snapshot = { ...node.snapshot, deviceCandidates: [candidate('shed', { messages: 12 })] }
  await open()
  expect(find('candidate-shed').textContent).toContain('12')
  node.kill = () => ({ errors: [{ message: 'only administrators may' }] })
  await click('adopt-shed')
  expect(document.querySelector('[role="alert"]')?.textContent).toContain('only administrators may')
  node.kill = () => ({ data: { adoptDevice: { id: 'shed' } } })
  await click('adopt-shed')
  expect(document.querySelector('[role="alert"]')).toBeNull()
  node.snapshot = { ...node.snapshot, deviceCandidates: [] }
  await pass(1_500)
  expect(document.querySelector('[data-testid="candidate-shed"]')).toBeNull()
})

it('values that stop moving go stale by themselves', async () => {
  await open()
  const stale = (): number => find('fleet-row-pack-1').querySelectorAll('td.stale').length
  expect(stale()).toBe(0)
  for (let ms = 0; ms < 17_000; ms += 500) await pass(500)
  expect(find('fleet-row-pack-1').className).toContain('silent')
  expect(stale()).toBe(2)
  const { devices } = node.snapshot
  node.snapshot = {
    ...node.snapshot,
    devices: devices.map((one) => ({ ...one, lastSeen: new Date().toISOString() })),
  }
  await pass(1_100)
  expect(find('fleet-row-pack-1').className).not.toContain('silent')
})

it('a lost connection is shown with the last values, and heals', async () => {
  await open()
  node.down = true
  await pass(1_100)
  expect(find('connection-state').dataset['state']).toBe('lost')
  expect(find('fleet-row-pack-1').textContent).toContain('80.0')
  expect((find('kill-node/devices/pack-1') as HTMLButtonElement).disabled).toBe(true)
  node.down = false
  await pass(15_000)
  expect(find('connection-state').dataset['state']).toBe('live')
  expect(document.querySelector('[data-testid="connection-banner"]')).toBeNull()
})

it('kills only after the question, and shows the actor coming back', async () => {
  const path = 'node/devices/pack-1'
  await open()
  await click(`kill-${path}`)
  expect(node.killed).toEqual([])
  await click(`kill-cancel-${path}`)
  expect(node.killed).toEqual([])

  await click(`kill-${path}`)
  await click(`kill-confirm-${path}`)
  expect(node.killed).toEqual([path])
  expect(find(`kill-state-${path}`).textContent).toContain('restarting')

  const tree = node.snapshot.supervisionTree.map((one) =>
    one.path === path ? { ...one, incarnation: 2, restarts: 1, lastReason: 'killed by operator' } : one,
  )
  node.snapshot = { ...node.snapshot, supervisionTree: tree }
  await pass(1_100)
  expect(find(`restarts-${path}`).dataset['value']).toBe('1')
  expect(find(`kill-state-${path}`).textContent).toContain('restarted')
})

it('a refused kill says why, until it is dismissed', async () => {
  const path = 'node/devices/pack-1'
  node.kill = () => ({ errors: [{ message: `${path} is parked` }] })
  await open()
  await click(`kill-${path}`)
  await click(`kill-confirm-${path}`)
  expect(find(`kill-error-${path}`).textContent).toContain('is parked')
  expect(find('connection-state').dataset['state']).toBe('live')
})

it('sorting and filtering act on the rows', async () => {
  await open()
  const ids = (): string[] =>
    [...document.querySelectorAll<HTMLElement>('[data-testid^="fleet-row-"]')].map(
      (row) => row.dataset['testid']?.slice('fleet-row-'.length) ?? '',
    )
  expect(ids()).toEqual(['boat', 'pack-1'])
  await click('sort-name')
  expect(ids()).toEqual(['pack-1', 'boat'])
  const filter = find('fleet-filter') as HTMLInputElement
  filter.value = 'parked'
  filter.dispatchEvent(new Event('input'))
  await nextTick()
  expect(ids()).toEqual(['boat'])
})

async function goTo(hash: string): Promise<void> {
  location.hash = hash
  window.dispatchEvent(new HashChangeEvent('hashchange'))
  // The page is a file of its own, which takes a moment to come even here.
  await vi.dynamicImportSettled()
  await pass(1_200)
}

it('a device has a page of its own, with its state, its ledger and its actor', async () => {
  await open()
  expect(find('open-pack-1').getAttribute('href')).toBe('#/devices/pack-1')
  await goTo('#/devices/pack-1')
  expect(find('device-name').textContent).toBe('pack-1')
  expect(find('device-page').textContent).toContain('cellar')
  expect(find('device-page').textContent).toContain('rack: 7')
  expect(find('state-change-1').textContent).toContain('nothing heard for 30 s')
  expect(find('device-actor').textContent).toContain('restarted')
  expect(find('flight-record').getAttribute('href')).toMatch(/^\/api\/v1\/devices\/[^/]+\/flight-record$/)
  expect(document.title).toContain('pack-1')
  await click('language-fr')
  expect(find('state-change-1').textContent).toContain('silencieux depuis 30 s')
  expect(document.documentElement.lang).toBe('fr')
  await goTo('#/')
  expect(find('fleet-row-pack-1').textContent).toContain('En ligne')
})

it('a device that the fleet does not know is said to be unknown, with the way back', async () => {
  await open()
  await goTo('#/devices/nobody%20here')
  expect(find('device-unknown').textContent).toContain('nobody here')
  expect(find('back').getAttribute('href')).toBe('#/')
})
