/** Formats numbers, times and ids for people. */
import { CLIENT_SHIFT } from '../protocol';
import type { IRun } from '../tokens';

/** The clock of a run. */
export type RunClock = Pick<IRun, 'now' | 'wallTime'>;

const CLIENT = 2 ** CLIENT_SHIFT;

/** A task id; tasks of the first client omit the number of the client: `17`, `2.17`. */
export function taskLabel(id: number): string {
  const client = Math.floor(id / CLIENT);
  const n = id % CLIENT;
  return client > 1 ? `${client}.${n}` : String(n);
}

/** Seconds as `85 ms`, `3.4 s`, `2 min 05 s`, `1 h 12 min`. */
export function duration(seconds: number): string {
  const s = Math.max(0, seconds);
  if (s < 0.9995) {
    return s > 0 && s < 0.0005 ? '< 1 ms' : `${Math.round(s * 1000)} ms`;
  }
  if (s < 9.95) {
    return `${s.toFixed(1)} s`;
  }
  if (s < 59.5) {
    return `${Math.round(s)} s`;
  }
  const whole = Math.round(s);
  if (whole < 3600) {
    return `${Math.floor(whole / 60)} min ${pad(whole % 60)} s`;
  }
  return `${Math.floor(whole / 3600)} h ${pad(Math.floor((whole % 3600) / 60))} min`;
}

/** Seconds as a running clock: `0:07`, `12:30`, `1:02:03`. */
export function clock(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds));
  const minutes = Math.floor(s / 60);
  const tail = pad(s % 60);
  return minutes < 60 ? `${minutes}:${tail}` : `${Math.floor(minutes / 60)}:${pad(minutes % 60)}:${tail}`;
}

/** A round duration in seconds, as `10 min`, `8 h`, `1 h 30 min`. */
export function span(seconds: number): string {
  const minutes = Math.round(seconds / 60);
  if (seconds < 90) {
    return `${Math.round(seconds)} s`;
  }
  const [hours, rest] = [Math.floor(minutes / 60), minutes % 60];
  return [hours ? `${hours} h` : '', rest ? `${rest} min` : ''].filter(part => part).join(' ');
}

/** A time of today as `14:03:59`; a time of another day includes the date. */
export function moment(epoch: number, now: number = Date.now() / 1000): string {
  const date = new Date(epoch * 1000);
  const time = date.toLocaleTimeString();
  return date.toDateString() === new Date(now * 1000).toDateString()
    ? time
    : `${date.toLocaleDateString()} ${time}`;
}

/** A time of a run, as the wall clock showed it then. */
export function runMoment(time: number, clock: RunClock): string {
  return moment(clock.wallTime(time), clock.wallTime(clock.now));
}

/** A rate with its significant digits: `0`, `0.4`, `12`, `1,204`. */
export function rate(value: number): string {
  return value < 9.95 ? String(Math.round(value * 10) / 10) : count(Math.round(value));
}

/** A whole number with separators. */
export function count(value: number): string {
  return value.toLocaleString();
}

/** A price in an unnamed currency: `1.20`, and more digits of a small one: `0.0042`. */
export function price(value: number): string {
  return value.toFixed(value > 0 && value < 0.1 ? 4 : 2);
}

/** Bytes as `512 B`, `1.5 GiB`, `16 GiB`. */
export function bytes(value: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let size = Math.max(0, value);
  let unit = 0;
  while (size >= 999.5 && unit < units.length - 1) {
    size /= 1024;
    unit += 1;
  }
  const digits = unit > 0 && size < 9.95 && !Number.isInteger(size) ? 1 : 0;
  return `${size.toFixed(digits)} ${units[unit]}`;
}

/** The first line of a text. */
export function firstLine(text: string): string {
  return text.trim().split('\n')[0];
}

function pad(value: number): string {
  return String(value).padStart(2, '0');
}
