/** The commands of the extension, `parslab:verb-noun`. */
export const Commands = {
  openPanel: 'parslab:open-panel',
  showOverview: 'parslab:show-overview',
  showGraph: 'parslab:show-graph',
  showTimeline: 'parslab:show-timeline',
  /**
   * `{states?: string[], apps?: string[], cell?: string, workers?: string[], between?: [number, number]}` filters the table; times are
   * seconds since the epoch.
   */
  showTasks: 'parslab:show-tasks',
  /** `{task?: number}`; without a task, the command asks for its id. */
  showTask: 'parslab:show-task',
  /** `{task?: number}`; the default is the selected task. */
  cancelTask: 'parslab:cancel-task',
  cancelAll: 'parslab:cancel-all',
  /** `{cell?: string, client?: number}`: a cell as `In [3]`; the default is the active cell of the notebook in front. */
  cancelCell: 'parslab:cancel-cell',
  /** `{cell: string, client?: number}`: brings a cell, `In [3]`, of the notebook in front into view. */
  showCell: 'parslab:show-cell',
  /** `{cell: string}`: the failed tasks of a cell of the notebook in front. */
  retryCell: 'parslab:retry-cell',
  /** `{task?: number}`; the default is the selected task. */
  retryTask: 'parslab:retry-task',
  /** `{app?: string}`: only tasks of this app, and tasks that failed because one of them failed. */
  retryFailed: 'parslab:retry-failed',
  showFailures: 'parslab:show-failures',
  /** `{failures: number}`: the number of a group of failures. */
  retryGroup: 'parslab:retry-group',
  /** `{task?: number}`; the default is the selected task. */
  copyReproducer: 'parslab:copy-reproducer',
  /** `{seconds?: number}`: how long the run outlives its notebook; without it, the command asks the user. */
  keepRun: 'parslab:keep-run',
  /** Continues the run of the notebook in front in its kernel, or in a new one. */
  attachRun: 'parslab:attach-run',
  showBlocks: 'parslab:show-blocks',
  /** `{executor, block, action}`: the action is hold, release, drain or cancel. */
  commandBlock: 'parslab:command-block',
  /** `{executor, blocks}` */
  scaleExecutor: 'parslab:scale-executor'
} as const;
