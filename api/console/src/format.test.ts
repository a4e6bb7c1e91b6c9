import { describe, expect, it } from 'vitest'

import { age, clockTime, compact, fullTime, list, number, pause, signed } from './format'

describe('numbers', () => {
  it('keep their decimals and use a true minus sign', () => {
    expect(number(52.4, 2)).toBe('52.40')
    expect(number(-3.25, 1)).toMatch(/^−3\.[23]$/)
    expect(number(1234567)).toBe('1,234,567')
  })

  it('are a dash where there is none, never a zero', () => {
    for (const nothing of [null, undefined, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(number(nothing, 1)).toBe('–')
      expect(signed(nothing)).toBe('–')
    }
  })

  it('show the sign of a current: plus charges, minus discharges, zero has none', () => {
    expect(signed(14.2)).toBe('+14.2')
    expect(signed(-8.41)).toBe('−8.4')
    expect(signed(0)).toBe('0.0')
    expect(signed(-0.01)).toBe('0.0')
    expect(number(-0.001, 1)).toBe('0.0')
  })

  it('of unknown kind keep about four digits', () => {
    expect(['0.0123', '3.14159', '124.618', '2048.7', '7'].map((text) => compact(Number(text)))).toEqual([
      '0.012',
      '3.14',
      '124.6',
      '2,049',
      '7',
    ])
  })
})

describe('ages', () => {
  it('go from tenths of a second to days', () => {
    const hour = 3_600_000
    expect([800, 9_940, 9_960, 59_999, 60_000, hour - 1, hour, 47 * hour, 49 * hour].map(age)).toEqual([
      '0.8 s',
      '9.9 s',
      '9 s',
      '59 s',
      '1 min',
      '59 min',
      '1 h',
      '47 h',
      '2 d',
    ])
  })

  it('never run backwards when the clocks differ', () => {
    expect(age(-500)).toBe('0.0 s')
  })

  it('of planned pauses are exact below a second', () => {
    expect([0, 200, 1_500].map(pause)).toEqual(['0 ms', '200 ms', '1.5 s'])
  })
})

describe('times', () => {
  it('show the local clock and keep the UTC time beside it', () => {
    const iso = '2026-01-15T10:30:05.250Z'
    expect(clockTime(iso)).toMatch(/^\d\d:\d\d:05\.250$/)
    expect(clockTime(iso, 1)).toMatch(/:05\.2$/)
    expect(clockTime(iso, 0)).toMatch(/:05$/)
    expect(fullTime('2026-01-15T10:30:05.25Z')).toContain('(2026-01-15T10:30:05.250Z)')
  })

  it('that are none are said to be none', () => {
    expect(clockTime('yesterday')).toBe('–')
    expect(fullTime('yesterday')).toBe('yesterday')
  })
})

it('lists get room to wrap', () => {
  expect(list('a,b, c')).toBe('a, b, c')
})
