/** The view of the panel that shows when the workers were busy: a key, the chart, and the chosen area. */
import type { TranslationBundle } from '@jupyterlab/translation';
import { Panel } from '@lumino/widgets';

import type { TimelineModel } from '../../model/timeline';
import type { IRuns, ISelection } from '../../tokens';
import { TimelineFoot, TimelineHead } from './head';
import { TimelineHost } from './host';

export class TimelineView extends Panel {
  constructor(
    runs: IRuns,
    model: TimelineModel,
    selection: ISelection,
    onList: () => void,
    trans: TranslationBundle
  ) {
    super();
    this.addClass('parslab-Timeline');
    this._host = new TimelineHost(model, selection, trans);
    this.addWidget(new TimelineHead(runs, model, trans));
    this.addWidget(this._host);
    this.addWidget(new TimelineFoot(runs, model, onList, trans));
  }

  /** Draws in the colours of the current theme. */
  restyle(): void {
    this._host.restyle();
  }

  private _host: TimelineHost;
}
