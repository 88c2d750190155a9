/** The widget of the drawer, which shows the selected task and updates it while it is visible. */
import type { TranslationBundle } from '@jupyterlab/translation';
import type { Message } from '@lumino/messaging';
import * as React from 'react';

import { isFinal } from '../../model/states';
import { RunView } from '../../components/view';
import { TaskResults } from '../../model/results';
import { TaskDetailModel } from '../../model/detail';
import type { IRuns, ISelection } from '../../tokens';
import { DrawerBody } from './body';

export interface IDrawerActions {
  cancelTask: (task: number) => void;
  cancelCell: (cell: string, client: number) => void;
  showCell: (cell: string) => void;
  copy: (text: string) => void;
}

export class DrawerView extends RunView {
  constructor(
    runs: IRuns,
    selection: ISelection,
    private _actions: IDrawerActions,
    private _trans: TranslationBundle
  ) {
    super(runs);
    this._model = new TaskDetailModel(runs, selection);
    this._results = new TaskResults(this._model);
    this.follow(this._model.changed);
    this.follow(this._results.changed);
    this.node.addEventListener('keydown', event => {
      if (event.key === 'Escape') {
        selection.select(null);
      }
    });
  }

  dispose(): void {
    this._results.dispose();
    this._model.dispose();
    super.dispose();
  }

  protected get ticking(): boolean {
    const { detail } = this._model;
    return detail !== null && !isFinal(detail.row.state);
  }

  protected onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this._model.active = true;
  }

  protected onBeforeHide(message: Message): void {
    super.onBeforeHide(message);
    this._model.active = false;
  }

  protected render(): React.JSX.Element | null {
    const { task, detail, problem, run, selection } = this._model;
    if (task === null || !run) {
      return null;
    }
    return (
      <DrawerBody
        task={task}
        detail={detail}
        problem={problem}
        clock={run}
        live={run.status === 'live'}
        trans={this._trans}
        results={command => this._results.of(command)}
        onCommand={command => void this._results.run(command)}
        onClose={() => selection.select(null)}
        onCancel={this._actions.cancelTask}
        onCancelCell={this._actions.cancelCell}
        onShowCell={this._actions.showCell}
        onShow={id => selection.select(id)}
        onCopy={this._actions.copy}
      />
    );
  }

  private _model: TaskDetailModel;
  private _results: TaskResults;
}
