// The JavaScript client's own ways: typed calls, errors, apply, watches, an informer. KUBECONFIG and a namespace are given.
const assert = require('node:assert');
const k8s = require('@kubernetes/client-node');

const namespace = process.argv[2];
const config = new k8s.KubeConfig();
config.loadFromFile(process.env.KUBECONFIG);
const core = config.makeApiClient(k8s.CoreV1Api);
const apps = config.makeApiClient(k8s.AppsV1Api);
const labels = { app: 'web' };

async function main() {
  const version = await config.makeApiClient(k8s.VersionApi).getCode();
  assert.strictEqual(version.minor, '36');

  const seen = [];
  const informer = k8s.makeInformer(
    config, `/api/v1/namespaces/${namespace}/configmaps`, () => core.listNamespacedConfigMap({ namespace }));
  for (const event of ['add', 'update', 'delete']) informer.on(event, (found) => seen.push([event, found.metadata.name]));
  await informer.start();

  await core.createNamespacedConfigMap({ namespace, body: { metadata: { name: 'a' }, data: { k: 'v' } } });
  const found = await core.readNamespacedConfigMap({ name: 'a', namespace });
  found.data.k = 'w';
  await core.replaceNamespacedConfigMap({ name: 'a', namespace, body: found });
  await assert.rejects(
    core.replaceNamespacedConfigMap({ name: 'a', namespace, body: { ...found, metadata: { ...found.metadata, resourceVersion: '1' } } }),
    (error) => error.code === 409 && JSON.parse(error.body).reason === 'Conflict');
  await assert.rejects(core.readNamespacedConfigMap({ name: 'none', namespace }), (error) => error.code === 404);

  const spec = { replicas: 1, selector: { matchLabels: labels },
    template: { metadata: { labels }, spec: { containers: [{ name: 'c', image: 'nginx' }] } } };
  const objects = k8s.KubernetesObjectApi.makeApiClient(config);
  const deployment = { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'web', namespace }, spec };
  await objects.patch(deployment, undefined, undefined, 'test', true, k8s.PatchStrategy.ServerSideApply);
  await apps.patchNamespacedDeploymentScale(
    { name: 'web', namespace, body: [{ op: 'replace', path: '/spec/replicas', value: 2 }] },
    k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy.JsonPatch));

  await new Promise((resolve, reject) => {
    const watch = new k8s.Watch(config);
    let request;
    watch.watch(`/apis/apps/v1/namespaces/${namespace}/deployments`, {}, (type, object) => {
      if (object.status?.readyReplicas === 2) { request.abort(); resolve(); }
    }, (error) => { if (error && error.name !== 'AbortError') reject(error); }).then((made) => { request = made; });
  });

  await core.deleteNamespacedConfigMap({ name: 'a', namespace });
  while (!seen.some(([event]) => event === 'delete')) await new Promise((resolve) => setTimeout(resolve, 20));
  await informer.stop();
  assert.deepStrictEqual(seen.filter(([, name]) => name === 'a').map(([event]) => event), ['add', 'update', 'delete']);
  const pods = await core.listNamespacedPod({ namespace, labelSelector: 'app=web' });
  assert.strictEqual(pods.items.length, 2);
  console.log('done');
  process.exit(0);
}

main().catch((error) => { console.error(error); process.exit(1); });
