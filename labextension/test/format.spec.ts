import { describe, expect, it } from 'vitest';

import { bytes, clock, duration, price, rate, span, taskLabel } from '../src/components/format';

describe('what people read', () => {
  it.each([
    [0, '0 ms'],
    [0.0003, '< 1 ms'],
    [0.0853, '85 ms'],
    [0.9996, '1.0 s'],
    [3.42, '3.4 s'],
    [12.4, '12 s'],
    [59.7, '1 min 00 s'],
    [125, '2 min 05 s'],
    [4320, '1 h 12 min'],
    [-1, '0 ms']
  ])('a duration of %d is %s', (seconds, text) => expect(duration(seconds)).toBe(text));

  it.each([
    [7.9, '0:07'],
    [750, '12:30'],
    [3723, '1:02:03']
  ])('a clock at %d shows %s', (seconds, text) => expect(clock(seconds)).toBe(text));

  it.each([
    [45, '45 s'],
    [600, '10 min'],
    [5400, '1 h 30 min'],
    [28800, '8 h']
  ])('a span of %d is %s', (seconds, text) => expect(span(seconds)).toBe(text));

  it.each([
    [0, '0'],
    [0.42, '0.4'],
    [12.3, '12']
  ])('a rate of %d is %s', (value, text) => expect(rate(value)).toBe(text));

  it.each([
    [17, '17'],
    [2 ** 40 + 17, '17'],
    [2 * 2 ** 40 + 17, '2.17']
  ])('task %d is called %s', (id, text) => expect(taskLabel(id)).toBe(text));

  it.each([
    [0, '0.00'],
    [0.0042, '0.0042'],
    [1.2, '1.20']
  ])('a price of %d is %s', (value, text) => expect(price(value)).toBe(text));

  it('bytes', () => {
    const sizes = [0, 999, 1000, 1536, 3.2 * 2 ** 30, 16 * 2 ** 30, 1000 * 2 ** 30];
    expect(sizes.map(bytes)).toEqual(['0 B', '999 B', '1.0 KiB', '1.5 KiB', '3.2 GiB', '16 GiB', '1.0 TiB']);
  });
});
