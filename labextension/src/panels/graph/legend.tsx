/** The key of the graph with the number of tasks in each state, and the number of tasks that the graph does not draw. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { count } from '../../components/format';
import { labelOf, StateMark } from '../../components/states';
import { STATES } from '../../model/states';
import { RunView } from '../../components/view';
import type { IRun, IRuns } from '../../tokens';

export function LegendBody({ run, trans }: { run: IRun; trans: TranslationBundle }): React.JSX.Element {
  const counts = run.overview?.counts ?? {};
  return (
    <>
      <ul aria-label={trans.__('Key')}>
        {STATES.filter(state => counts[state]).map(state => (
          <li key={state} data-state={state} data-count={counts[state]}>
            <StateMark state={state} />
            {labelOf(state, trans)} <b>{count(counts[state])}</b>
          </li>
        ))}
      </ul>
      {run.hidden > 0 && (
        <p className="parslab-Quiet">
          {trans.__('%1 newer tasks are not drawn; the table has them all.', count(run.hidden))}
        </p>
      )}
      {run.nodes.size === 0 && (
        <p className="parslab-Quiet">{trans.__('No tasks yet: call an app to see it here.')}</p>
      )}
    </>
  );
}

export class Legend extends RunView {
  constructor(
    runs: IRuns,
    private _trans: TranslationBundle
  ) {
    super(runs);
    this.addClass('parslab-Legend');
  }

  protected render(): React.JSX.Element | null {
    return this.run && <LegendBody run={this.run} trans={this._trans} />;
  }
}
