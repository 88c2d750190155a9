/** The view of the panel that groups failed tasks. */
import type { TranslationBundle } from '@jupyterlab/translation';
import type { Message } from '@lumino/messaging';
import * as React from 'react';

import { RunView } from '../../components/view';
import type { OpenFailures } from '../../model/failures';
import type { IRuns } from '../../tokens';
import type { IFailuresActions } from './body';
import { FailuresBody } from './body';

export class FailuresView extends RunView {
  constructor(
    runs: IRuns,
    private _open: OpenFailures,
    private _actions: IFailuresActions,
    private _trans: TranslationBundle
  ) {
    super(runs);
    this.follow(_open.changed);
  }

  dispose(): void {
    this._open.dispose();
    super.dispose();
  }

  protected onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this._open.active = true;
  }

  protected onBeforeHide(message: Message): void {
    super.onBeforeHide(message);
    this._open.active = false;
  }

  protected render(): React.JSX.Element | null {
    return (
      this.run && <FailuresBody run={this.run} open={this._open} trans={this._trans} actions={this._actions} />
    );
  }
}
