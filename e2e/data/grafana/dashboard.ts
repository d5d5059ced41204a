// Grafana's own types, made of its dashboard schema, over the dashboard as an object literal: a field that
// is missing, has another type or is unknown does not compile. e2e/dashboard.py puts the JSON in place of
// DASHBOARD. The panels' options are those of the panels' plugins.
import type * as grafana from './node_modules/@grafana/schema/dist/types/raw/dashboard/x/types.gen';
import type * as stat from './node_modules/@grafana/schema/dist/types/raw/composable/stat/panelcfg/x/types.gen';
import type * as lines from './node_modules/@grafana/schema/dist/types/raw/composable/timeseries/panelcfg/x/types.gen';

// As JSON writes it: the value of an enum's member for the member.
type Json<T> = unknown extends T ? T
  : T extends string ? `${T}`
  : T extends number | boolean | null | undefined ? T
  : T extends Array<infer Member> ? Array<Json<Member>>
  : { [Key in keyof T]: Json<T[Key]> };

interface Target {
  datasource: grafana.DataSourceRef;
  editorMode: 'code' | 'builder';
  expr: string;
  legendFormat: string;
  range: boolean;
  refId: string;
}

type Fields<Custom> = Omit<grafana.FieldConfigSource, 'defaults'> & {
  defaults: Omit<grafana.FieldConfig, 'custom'> & { custom?: Custom };
};
type Of<Type, Options, Custom> = Omit<grafana.Panel, 'type' | 'options' | 'fieldConfig' | 'targets'> & {
  type: Type;
  options: Options;
  fieldConfig: Fields<Custom>;
  targets: Target[];
};
type Panel = grafana.RowPanel | Of<'stat', stat.Options, never> | Of<'timeseries', lines.Options, lines.FieldConfig>;

export const dashboard: Json<Omit<grafana.Dashboard, 'panels'> & { panels: Panel[] }> = DASHBOARD;
