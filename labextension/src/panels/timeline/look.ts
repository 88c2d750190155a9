/** The colours and the font of the theme, in the form that Bokeh understands: it knows no CSS variables. */
import { colourOf } from '../../components/states';
import { STATES } from '../../model/states';
import { APP_COLOURS } from './head';

export interface ILook {
  readonly states: ReadonlyMap<string, string>;
  readonly apps: readonly string[];
  readonly others: string;
  readonly text: string;
  readonly quiet: string;
  readonly grid: string;
  readonly idle: string;
  readonly mark: string;
  readonly busy: string;
  readonly connected: string;
  readonly waiting: string;
  readonly font: string;
  readonly fontSize: string;
}

export function readLook(host: HTMLElement): ILook {
  const probe = host.appendChild(document.createElement('span'));
  probe.hidden = true;
  const read = (name: string) => {
    probe.style.color = `var(${name})`;
    return plain(getComputedStyle(probe).color);
  };
  const style = getComputedStyle(host);
  const look: ILook = {
    states: new Map(STATES.map(state => [state, read(colourOf(state))])),
    apps: Array.from({ length: APP_COLOURS }, (_, i) => read(`--parslab-app-${i}`)),
    others: read('--parslab-neutral'),
    text: read('--jp-ui-font-color1'),
    quiet: read('--jp-ui-font-color2'),
    grid: read('--jp-border-color2'),
    idle: read('--parslab-idle'),
    mark: read('--parslab-mark'),
    busy: read('--parslab-success'),
    connected: read('--jp-ui-font-color2'),
    waiting: read('--parslab-warning'),
    font: style.fontFamily,
    fontSize: style.getPropertyValue('--jp-ui-font-size0').trim() || '11px'
  };
  probe.remove();
  return look;
}

/** A computed colour as `#rrggbb` or `#rrggbbaa`; browsers write mixed colours as `color(srgb ...)`. */
export function plain(colour: string): string {
  const numbers = colour.match(/[\d.]+(?:e-?\d+)?/g)?.map(Number) ?? [0, 0, 0];
  const scale = colour.startsWith('color(') ? 255 : 1;
  const [r, g, b] = numbers.slice(0, 3).map(value => value * scale);
  const alpha = (numbers[3] ?? 1) * 255;
  const hex = (value: number) =>
    Math.round(Math.min(255, Math.max(0, value)))
      .toString(16)
      .padStart(2, '0');
  return `#${hex(r)}${hex(g)}${hex(b)}${alpha < 255 ? hex(alpha) : ''}`;
}
