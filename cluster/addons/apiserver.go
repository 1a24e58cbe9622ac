package addons

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
)

const (
	// manager owns the fields that manifests set.
	manager = "skerry"

	// The inventory is a ConfigMap with one list.
	inventoryName  = "skerry-applied"
	inventoryKey   = "objects"
	inventoryPlace = "ConfigMap " + metav1.NamespaceSystem + "/" + inventoryName
)

// apiServer is a cluster by its API.
//
// Kinds are looked up one group and version at a time: the whole of discovery
// is larger, and fails when any one extension of the API does not answer.
type apiServer struct {
	objects   dynamic.Interface
	client    kubernetes.Interface
	discovery discovery.DiscoveryInterface
	kinds     map[schema.GroupVersion]map[string]metav1.APIResource
	applied   map[string]state // by kind, namespace and name
}

// state is what an object was after it was applied.
type state struct {
	wanted  digest
	version string
}

func (s *apiServer) forgetKinds() { s.kinds = map[schema.GroupVersion]map[string]metav1.APIResource{} }

func (s *apiServer) resolve(_ context.Context, kind schema.GroupVersionKind) (bool, error) {
	found, err := s.kind(kind)
	return found.Namespaced, err
}

func (s *apiServer) kind(kind schema.GroupVersionKind) (metav1.APIResource, error) {
	version := kind.GroupVersion()
	known, ok := s.kinds[version]
	if !ok {
		list, err := s.discovery.ServerResourcesForGroupVersion(version.String())
		if err != nil && !apierrors.IsNotFound(err) {
			return metav1.APIResource{}, fmt.Errorf("look up %s: %w", version, err)
		}
		known = map[string]metav1.APIResource{}
		if err == nil {
			for _, resource := range list.APIResources {
				if _, twice := known[resource.Kind]; !twice && !strings.Contains(resource.Name, "/") {
					known[resource.Kind] = resource
				}
			}
		}
		s.kinds[version] = known
	}
	found, ok := known[kind.Kind]
	if !ok {
		return found, fmt.Errorf("%w: %s in %s", errUnknownKind, kind.Kind, version)
	}
	return found, nil
}

// resource is where the objects of a kind are.
func (s *apiServer) resource(kind schema.GroupVersionKind, namespace string) (dynamic.ResourceInterface, error) {
	found, err := s.kind(kind)
	if err != nil {
		return nil, err
	}
	resource := s.objects.Resource(kind.GroupVersion().WithResource(found.Name))
	if !found.Namespaced {
		return resource, nil
	}
	return resource.Namespace(namespace), nil
}

// apply applies an object. One that nobody has changed since is only looked at:
// that costs a fraction, and most kinds of objects stand in no audit log then.
func (s *apiServer) apply(ctx context.Context, object *unstructured.Unstructured) error {
	resource, err := s.resource(object.GroupVersionKind(), object.GetNamespace())
	if err != nil {
		return err
	}
	text, err := object.MarshalJSON()
	if err != nil {
		return err
	}
	key := keyOf(object.GroupVersionKind(), object.GetNamespace(), object.GetName())
	wanted := sha256.Sum256(text)
	if before, ok := s.applied[key]; ok && before.wanted == wanted {
		if found, err := resource.Get(ctx, object.GetName(), metav1.GetOptions{}); err == nil && found.GetResourceVersion() == before.version {
			return nil
		}
	}
	now, err := resource.Apply(ctx, object.GetName(), object, metav1.ApplyOptions{FieldManager: manager, Force: true})
	if err != nil {
		return err
	}
	s.applied[key] = state{wanted, now.GetResourceVersion()}
	return nil
}

// keyOf names an object among those that were applied.
func keyOf(kind schema.GroupVersionKind, namespace, name string) string {
	return kind.String() + " " + namespace + "/" + name
}

func (s *apiServer) remove(ctx context.Context, r reference) error {
	version, served, err := s.servedVersion(r)
	if err != nil || !served {
		return err
	}
	kind := schema.GroupVersionKind{Group: r.Group, Version: version, Kind: r.Kind}
	delete(s.applied, keyOf(kind, r.Namespace, r.Name))
	resource, err := s.resource(kind, r.Namespace)
	if err != nil {
		return err
	}
	found, err := resource.Get(ctx, r.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if found.GetAnnotations()[sourceAnnotation] == "" {
		slog.Warn("an object that is in no manifest any more is left alone: somebody took it over", "object", r.identity.String())
		return nil
	}
	uid, background := found.GetUID(), metav1.DeletePropagationBackground
	err = resource.Delete(ctx, r.Name, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &uid}, PropagationPolicy: &background,
	})
	if err == nil {
		slog.Info("deleted what is in no manifest any more", "object", r.identity.String(), "was in", r.Source)
	}
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// servedVersion finds a version in which the server serves a kind: the one
// that was applied, or, if a newer Kubernetes dropped it, another.
func (s *apiServer) servedVersion(r reference) (version string, served bool, err error) {
	if _, err := s.kind(schema.GroupVersionKind{Group: r.Group, Version: r.Version, Kind: r.Kind}); err == nil {
		return r.Version, true, nil
	}
	groups, err := s.discovery.ServerGroups()
	if err != nil {
		return "", false, fmt.Errorf("look up the groups of the API: %w", err)
	}
	for _, group := range groups.Groups {
		if group.Name != r.Group {
			continue
		}
		for _, v := range group.Versions {
			kind := schema.GroupVersionKind{Group: r.Group, Version: v.Version, Kind: r.Kind}
			switch _, err := s.kind(kind); {
			case err == nil:
				return v.Version, true, nil
			case !isUnknownKind(err):
				return "", false, err
			}
		}
	}
	return "", false, nil // the kind is gone, and its objects with it
}

func (s *apiServer) recorded(ctx context.Context) ([]reference, error) {
	found, err := s.client.CoreV1().ConfigMaps(metav1.NamespaceSystem).Get(ctx, inventoryName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var references []reference
	if text := found.Data[inventoryKey]; text != "" {
		if err := json.Unmarshal([]byte(text), &references); err != nil {
			return nil, fmt.Errorf("the list of what was applied cannot be read: %w: delete the object, and delete by hand what is in no manifest any more", err)
		}
	}
	return references, nil
}

func (s *apiServer) record(ctx context.Context, references []reference) error {
	if references == nil {
		references = []reference{}
	}
	text, err := json.Marshal(references)
	if err != nil {
		return err
	}
	maps := s.client.CoreV1().ConfigMaps(metav1.NamespaceSystem)
	inventory := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: inventoryName, Namespace: metav1.NamespaceSystem},
		Data:       map[string]string{inventoryKey: string(text)},
	}
	options := metav1.UpdateOptions{FieldManager: manager}
	_, err = maps.Update(ctx, inventory, options)
	if apierrors.IsNotFound(err) {
		_, err = maps.Create(ctx, inventory, metav1.CreateOptions{FieldManager: manager})
	}
	if err != nil {
		return fmt.Errorf("write down what is applied: %w", err)
	}
	return nil
}
