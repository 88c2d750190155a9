/** The header of the panel: the name and the status of the run, and the tabs. */
import type { TranslationBundle } from '@jupyterlab/translation';
import { Signal } from '@lumino/signaling';
import * as React from 'react';

import { clock } from '../../components/format';
import { Lease } from '../../components/lease';
import { Banner, Empty, routeMessage, Sentence, statusMessage } from '../../components/message';
import { RunView } from '../../components/view';
import type { IRun, IRuns } from '../../tokens';
import type { ITab } from './tabs';
import { Tabs } from './tabs';

export interface IHeaderBodyProps {
  run: IRun | null;
  tabs: readonly ITab[];
  current: string;
  trans: TranslationBundle;
  onSelect: (id: string) => void;
  onKeep: (seconds: number) => void;
  onAttach: () => void;
}

export function HeaderBody(props: IHeaderBodyProps): React.JSX.Element {
  const { run, tabs, current, trans, onSelect, onKeep, onAttach } = props;
  const say = statusMessage(run, trans);
  if (say && !say.content) {
    return <Empty statusMessage={say} onAttach={onAttach} />;
  }
  const missing = run && routeMessage(run, trans);
  return (
    <>
      {run?.info && <RunLine run={run} trans={trans} />}
      {run && <Lease run={run} trans={trans} onKeep={onKeep} />}
      {say && <Banner statusMessage={say} onAttach={onAttach} />}
      {missing && (
        <p className="parslab-MissingHalf">
          <Sentence text={missing} />
        </p>
      )}
      <Tabs tabs={tabs} current={current} label={trans.__('Views of the run')} onSelect={onSelect} />
    </>
  );
}

function RunLine({ run, trans }: { run: IRun; trans: TranslationBundle }): React.JSX.Element | null {
  const { info } = run;
  if (!info) {
    return null;
  }
  const over = info.ended !== null || run.status === 'ended';
  const end = info.ended ?? (run.status === 'live' ? run.now : (run.overview?.now ?? info.started));
  const words = { live: trans.__('Running'), lost: trans.__('Disconnected'), ended: trans.__('Ended') };
  const word = words[over ? 'ended' : run.status === 'lost' ? 'lost' : 'live'];
  const byServer = run.route === 'server';
  const route = byServer ? trans.__('Through the Jupyter server') : trans.__('Through the kernel');
  const where = `${info.run_dir}\n${info.host}, pid ${info.pid}, parslab ${info.version}\n${route}`;
  return (
    <div className="parslab-RunLine" data-status={run.status} data-route={run.route} title={where}>
      <span className="parslab-RunLine-word">{word}</span>
      <span className="parslab-RunLine-run">{trans.__('Run %1', info.run)}</span>
      <span className="parslab-RunLine-time" role="timer" aria-label={trans.__('Run time')}>
        {clock(end - info.started)}
      </span>
    </div>
  );
}

export class Header extends RunView {
  constructor(
    runs: IRuns,
    private _trans: TranslationBundle
  ) {
    super(runs);
    this.addClass('parslab-Header');
  }

  /** A signal that the user chose how many seconds the run outlives its notebook. */
  readonly kept = new Signal<Header, number>(this);

  /** A signal that the user wants to continue the run in the kernel of the notebook. */
  readonly attached = new Signal<Header, void>(this);

  /** A signal that the user chose another tab. */
  readonly chosen = new Signal<Header, string>(this);

  set tabs(tabs: readonly ITab[]) {
    this._tabs = tabs;
    this.update();
  }

  set current(current: string) {
    this._current = current;
    this.update();
  }

  protected get ticking(): boolean {
    const { run } = this;
    return run !== null && ((run.status === 'live' && run.info?.ended === null) || run.expires !== null);
  }

  protected render(): React.JSX.Element {
    return (
      <HeaderBody
        run={this.run}
        tabs={this._tabs}
        current={this._current}
        trans={this._trans}
        onSelect={id => this.chosen.emit(id)}
        onKeep={seconds => this.kept.emit(seconds)}
        onAttach={() => this.attached.emit()}
      />
    );
  }

  private _tabs: readonly ITab[] = [];
  private _current = '';
}
