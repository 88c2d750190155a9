/** Above the chart: what the colours mean, and the buttons that zoom. Below it: the curves, and the chosen area. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { RunView } from '../../components/view';
import { count, duration } from '../../components/format';
import { labelOf, StateMark } from '../../components/states';
import { STATES } from '../../model/states';
import type { ColourBy, TimelineModel } from '../../model/timeline';
import type { ITimeline } from '../../protocol';
import type { IRuns } from '../../tokens';
import { summary } from './words';

/** Apps with a colour of their own; `timeline.css` has their colours. */
export const APP_COLOURS = 8;

export interface IHeadProps {
  model: TimelineModel;
  trans: TranslationBundle;
}

export function Head({ model, trans }: IHeadProps): React.JSX.Element {
  const { picture, problem } = model;
  return (
    <>
      {problem && (
        <div className="parslab-Banner parslab-mod-error" role="alert">
          {problem}
        </div>
      )}
      <div className="parslab-TimelineTools">
        <label>
          {trans.__('Colours')}
          <select
            value={model.colourBy}
            aria-label={trans.__('Colours')}
            onChange={event => (model.colourBy = event.target.value as ColourBy)}
          >
            <option value="state">{trans.__('States')}</option>
            <option value="app">{trans.__('Apps')}</option>
          </select>
        </label>
        <Zoom model={model} trans={trans} />
      </div>
      {picture && <Key picture={picture} by={model.colourBy} trans={trans} />}
      <p className="parslab-Quiet parslab-Timeline-summary">
        {picture ? summary(picture, trans) : trans.__('Loading …')}
        {picture && <Sharing picture={picture} trans={trans} />}
      </p>
    </>
  );
}

function Zoom({ model, trans }: IHeadProps): React.JSX.Element {
  const tools: [string, string, () => void, boolean?][] = [
    ['M10 3 5 8l5 5', trans.__('Earlier'), () => model.move(-0.5), !model.window],
    ['M6 3l5 5-5 5', trans.__('Later'), () => model.move(0.5), !model.window],
    ['M2 8h12M8 2v12', trans.__('Zoom in'), () => model.zoom(1.5)],
    ['M2 8h12', trans.__('Zoom out'), () => model.zoom(1 / 1.5)],
    [
      'M2 6V2h4M10 2h4v4M14 10v4h-4M6 14H2v-4',
      trans.__('Show the whole run'),
      () => model.show(null),
      !model.window
    ]
  ];
  return (
    <div className="parslab-TimelineZoom" role="toolbar" aria-label={trans.__('Zoom')}>
      {tools.map(([path, label, act, disabled]) => (
        <button
          key={path}
          type="button"
          className="parslab-IconButton"
          aria-label={label}
          title={label}
          disabled={disabled}
          onClick={act}
        >
          <svg viewBox="0 0 16 16" aria-hidden="true">
            <path d={path} />
          </svg>
        </button>
      ))}
    </div>
  );
}

/** What the colours of the bars mean. */
function Key(props: { picture: ITimeline; by: ColourBy; trans: TranslationBundle }): React.JSX.Element {
  const { picture, by, trans } = props;
  const bars = picture.rows.flatMap(row => row.bars);
  if (by === 'state') {
    const seen = new Set(bars.map(bar => bar[5]));
    return (
      <ul className="parslab-TimelineKey" aria-label={trans.__('Key')}>
        {STATES.filter(state => seen.has(state)).map(state => (
          <li key={state} data-state={state}>
            <StateMark state={state} />
            {labelOf(state, trans)}
          </li>
        ))}
      </ul>
    );
  }
  const seen = [...new Set(bars.map(bar => bar[4]))].sort((a, b) => a - b);
  const named = seen.filter(app => app >= 0 && app < APP_COLOURS);
  return (
    <ul className="parslab-TimelineKey" aria-label={trans.__('Key')}>
      {named.map(app => (
        <li key={app} data-app={picture.apps[app]}>
          <span className="parslab-Swatch" style={{ background: `var(--parslab-app-${app})` }} />
          <span className="parslab-TimelineKey-name">{picture.apps[app]}</span>
        </li>
      ))}
      {named.length < seen.length && (
        <li>
          <span className="parslab-Swatch" style={{ background: 'var(--parslab-neutral)' }} />
          {trans.__('Several or other apps')}
        </li>
      )}
    </ul>
  );
}

/** What a row stands for, if it is not one worker, and how many rows are left out. */
function Sharing({ picture, trans }: { picture: ITimeline; trans: TranslationBundle }): React.JSX.Element {
  const words = {
    worker: '',
    node: trans.__('A row shows all workers of a node: the higher, the more of them are busy.'),
    block: trans.__('A row shows all workers of a block: the higher, the more of them are busy.'),
    executor: trans.__('A row shows all workers of an executor: the higher, the more of them are busy.')
  }[picture.by];
  const hidden = picture.hidden ? trans.__('%1 rows more have no room.', count(picture.hidden)) : '';
  return <>{[words, hidden].filter(text => text).map(text => ` ${text}`)}</>;
}

export interface IFootProps extends IHeadProps {
  onList: () => void;
}

/** The key of the curves, and what to do with the chosen area. */
export function Foot({ model, trans, onList }: IFootProps): React.JSX.Element {
  const { area } = model;
  return (
    <>
      <ul className="parslab-TimelineKey" aria-label={trans.__('Key of the curves')}>
        <li>
          <span className="parslab-Swatch parslab-mod-busy" />
          {trans.__('Workers busy')}
        </li>
        <li>
          <span className="parslab-Swatch parslab-mod-connected" />
          {trans.__('Connected')}
        </li>
        <li>
          <span className="parslab-Swatch parslab-mod-waiting" />
          {trans.__('Tasks waiting')}
        </li>
      </ul>
      {area && (
        <div className="parslab-TimelineArea" role="group" aria-label={trans.__('Selection')}>
          <span role="status">
            {trans._n(
              '%2 on 1 row',
              '%2 on %1 rows',
              area.rows[1] - area.rows[0] + 1,
              duration(area.until - area.since)
            )}
          </span>
          <button type="button" className="parslab-Button" onClick={onList}>
            {trans.__('List tasks')}
          </button>
          <button type="button" className="parslab-Button" onClick={() => zoomTo(model)}>
            {trans.__('Zoom in')}
          </button>
          <button type="button" className="parslab-Button" onClick={() => model.choose(null)}>
            {trans.__('Clear')}
          </button>
        </div>
      )}
    </>
  );
}

function zoomTo(model: TimelineModel): void {
  const { area } = model;
  model.choose(null);
  model.show(area);
}

export class TimelineHead extends RunView {
  constructor(
    runs: IRuns,
    private _model: TimelineModel,
    private _trans: TranslationBundle
  ) {
    super(runs);
    this.addClass('parslab-TimelineHead');
    this.follow(_model.changed);
  }

  protected render(): React.JSX.Element | null {
    return this.run && <Head model={this._model} trans={this._trans} />;
  }
}

export class TimelineFoot extends RunView {
  constructor(
    runs: IRuns,
    private _model: TimelineModel,
    private _onList: () => void,
    private _trans: TranslationBundle
  ) {
    super(runs);
    this.addClass('parslab-TimelineFoot');
    this.follow(_model.changed);
  }

  protected render(): React.JSX.Element | null {
    return this.run && <Foot model={this._model} trans={this._trans} onList={this._onList} />;
  }
}
