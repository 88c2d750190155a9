/** The view of the panel that shows the task table. */
import type { TranslationBundle } from '@jupyterlab/translation';
import type { Message } from '@lumino/messaging';
import * as React from 'react';

import { RunView } from '../../components/view';
import type { TaskTable } from '../../model/tasks';
import type { IRuns, ISelection } from '../../tokens';
import { TasksBody } from './body';

export class TasksView extends RunView {
  constructor(
    runs: IRuns,
    private _table: TaskTable,
    private _selection: ISelection,
    private _retryFailed: (app?: string) => void,
    private _trans: TranslationBundle
  ) {
    super(runs);
    this.follow(_table.changed);
    this.follow(_selection.changed);
  }

  dispose(): void {
    this._table.dispose();
    super.dispose();
  }

  protected get ticking(): boolean {
    return this.run?.status === 'live' && (this.run.overview?.counts.running ?? 0) > 0;
  }

  protected onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this._table.active = true;
  }

  protected onBeforeHide(message: Message): void {
    super.onBeforeHide(message);
    this._table.active = false;
  }

  protected render(): React.JSX.Element {
    return (
      <TasksBody
        table={this._table}
        selected={this._selection.task}
        trans={this._trans}
        onOpen={task => this._selection.select(task)}
        onRetryFailed={this._retryFailed}
      />
    );
  }
}
