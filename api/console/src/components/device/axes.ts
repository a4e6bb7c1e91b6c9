// How a lane's axes are scaled and written. Pure.

import { number } from '../../format'
import { texts } from '../../texts'

/** What a lane shows at least, by unit, so that the noise of a resting battery does not fill it. */
const LEAST: Record<string, number> = { V: 0.2, A: 1, W: 20, '%': 2, '°C': 2, Ah: 1 }

/** The range of a lane for values between `low` and `high`; percentages never leave 0 to 100. */
export function laneRange(low: number | null, high: number | null, unit: string): [number, number] {
  if (low === null || high === null || !Number.isFinite(low) || !Number.isFinite(high)) return [0, 1]
  const span = Math.max(high - low, LEAST[unit] ?? Math.max(Math.abs(high) * 0.01, 1e-3))
  const middle = (low + high) / 2
  const [bottom, top] = [middle - span * 0.6, middle + span * 0.6]
  if (unit !== '%' || low < 0 || high > 100) return [bottom, top]
  return [Math.max(0, bottom), Math.min(100, top)]
}

/** Axis numbers with just the decimals that their step needs. */
export function axisNumbers(values: readonly number[], step: number): string[] {
  let decimals = 0
  // 2.5 needs one decimal although it is more than 1.
  while (decimals < 6 && Math.abs(step * 10 ** decimals - Math.round(step * 10 ** decimals)) > 1e-6)
    decimals += 1
  return values.map((value) => number(value, decimals))
}

const DAY_S = 86_400

/** Axis times as fine as their step: the clock, and the day where it begins or where days are the step. */
export function axisTimes(seconds: readonly number[], step: number): string[] {
  const clock = new Intl.DateTimeFormat(texts.locale, {
    hour: '2-digit',
    minute: '2-digit',
    ...(step < 60 ? { second: '2-digit' as const } : {}),
    hourCycle: 'h23',
  })
  const day = new Intl.DateTimeFormat(texts.locale, { day: 'numeric', month: 'short' })
  return seconds.map((second) => {
    const date = new Date(second * 1000)
    const midnight = date.getHours() === 0 && date.getMinutes() === 0 && date.getSeconds() === 0
    return step >= DAY_S || midnight ? day.format(date) : clock.format(date)
  })
}
