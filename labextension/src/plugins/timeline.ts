/** Adds the timeline to the panel. */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette, IThemeManager } from '@jupyterlab/apputils';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { Commands } from '../commands';
import { TimelineModel } from '../model/timeline';
import { TimelineView } from '../panels/timeline';
import { IParslPanel, IRuns } from '../tokens';

export const timelinePlugin: JupyterFrontEndPlugin<void> = {
  id: 'parslab:timeline',
  description: 'Shows when the workers of the run were busy.',
  autoStart: true,
  requires: [IRuns, IParslPanel],
  optional: [IThemeManager, ICommandPalette, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    runs: IRuns,
    panel: IParslPanel,
    themes: IThemeManager | null,
    palette: ICommandPalette | null,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load('parslab');
    const model = new TimelineModel(runs);
    const list = () => {
      const { area, picture } = model;
      if (area && picture) {
        const names = picture.rows.slice(area.rows[0], area.rows[1] + 1).flatMap(row => row.names);
        const between = [picture.origin + area.since, picture.origin + area.until];
        void app.commands.execute(Commands.showTasks, { workers: [...new Set(names)], between });
      }
    };
    const content = new TimelineView(runs, model, panel.selection, list, trans);
    panel.addView({ id: 'timeline', label: trans.__('Timeline'), rank: 25, content });
    themes?.themeChanged.connect(() => content.restyle());
    app.commands.addCommand(Commands.showTimeline, {
      label: trans.__('Show the Timeline of the Run'),
      describedBy: { args: { type: 'object', properties: {} } },
      execute: () => panel.open('timeline')
    });
    palette?.addItem({ command: Commands.showTimeline, category: trans.__('Parsl') });
  }
};
