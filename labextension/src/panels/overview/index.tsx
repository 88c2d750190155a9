/** The view of the panel that summarizes the run. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { RunView } from '../../components/view';
import type { IRuns } from '../../tokens';
import { OverviewBody } from './body';

export interface IOverviewActions {
  cancelAll: () => void;
  retryFailed: () => void;
  showTasks: (filter: { states?: string[]; apps?: string[] }) => void;
}

export class OverviewView extends RunView {
  constructor(
    runs: IRuns,
    private _actions: IOverviewActions,
    private _trans: TranslationBundle
  ) {
    super(runs);
  }

  protected render(): React.JSX.Element | null {
    return (
      this.run && (
        <OverviewBody
          run={this.run}
          trans={this._trans}
          onCancelAll={this._actions.cancelAll}
          onRetryFailed={this._actions.retryFailed}
          onShowTasks={this._actions.showTasks}
        />
      )
    );
  }
}
