package kubernetes

import (
	"fmt"
	"path"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingapi "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/uuid"
	flowcontrol "k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	schedulingv1 "k8s.io/kubernetes/pkg/apis/scheduling/v1"
)

// StoragePrefix begins all keys of the API server in its datastore
// (--etcd-prefix).
const StoragePrefix = "/registry"

// FirstPrefix begins those keys of FirstObjects that are to be written last: a
// datastore that has one of them is not new.
const FirstPrefix = StoragePrefix + "/clusterroles/"

// FirstObjects are objects that a new cluster always gets, as the API server
// keeps them, by their keys in its datastore: the roles, bindings and priority
// classes that it is not ready without, its priority levels and flow schemas, and
// the accounts of the controller manager's controllers. Made through the API, one
// after the other, they take some 300 requests. The API server and the controller
// manager look at each of them later, and make what is missing.
//
// Unlike those made through the API the objects do not tell who manages which of
// their fields (metadata.managedFields).
func FirstObjects(now time.Time) (map[string][]byte, error) {
	preparing.Lock()
	err := setGlobals() // the policy depends on feature gates
	preparing.Unlock()
	if err != nil {
		return nil, err
	}
	info, ok := runtime.SerializerInfoForMediaType(legacyscheme.Codecs.SupportedMediaTypes(), runtime.ContentTypeProtobuf)
	if !ok {
		return nil, fmt.Errorf("no serializer for %s", runtime.ContentTypeProtobuf)
	}
	f := firstObjects{now: metav1.NewTime(now.Truncate(time.Second)), serializer: info.Serializer, values: make(map[string][]byte)}
	policy := bootstrapPolicy()
	for i := range policy.ClusterRoles {
		f.add("clusterroles", rbacv1.SchemeGroupVersion, &policy.ClusterRoles[i])
	}
	for i := range policy.ClusterRoleBindings {
		f.add("clusterrolebindings", rbacv1.SchemeGroupVersion, &policy.ClusterRoleBindings[i])
	}
	for _, roles := range policy.Roles {
		for i := range roles {
			f.add("roles", rbacv1.SchemeGroupVersion, &roles[i])
		}
	}
	for _, bindings := range policy.RoleBindings {
		for i := range bindings {
			f.add("rolebindings", rbacv1.SchemeGroupVersion, &bindings[i])
		}
	}
	for _, class := range schedulingv1.SystemPriorityClasses() {
		f.add("priorityclasses", schedulingv1.SchemeGroupVersion, class)
	}
	for _, level := range slices.Concat(flowcontrol.MandatoryPriorityLevelConfigurations, flowcontrol.SuggestedPriorityLevelConfigurations) {
		f.add("prioritylevelconfigurations", flowcontrolv1.SchemeGroupVersion, level.DeepCopy())
	}
	for _, flow := range slices.Concat(flowcontrol.MandatoryFlowSchemas, flowcontrol.SuggestedFlowSchemas) {
		f.add("flowschemas", flowcontrolv1.SchemeGroupVersion, flow.DeepCopy())
	}
	for _, name := range controllerAccounts(policy.ClusterRoleBindings) {
		f.add("serviceaccounts", corev1.SchemeGroupVersion, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: name}})
	}
	return f.values, f.err
}

// unusedAccounts are named by the policy, and no controller that runs here makes
// them.
var unusedAccounts = []string{"kube-dns", "route-controller", "selinux-warning-controller", "service-controller"}

// controllerAccounts are the accounts in kube-system that bindings name, but for
// the unused ones.
func controllerAccounts(bindings []rbacv1.ClusterRoleBinding) (names []string) {
	for _, binding := range bindings {
		for _, subject := range binding.Subjects {
			if subject.Kind == rbacv1.ServiceAccountKind && subject.Namespace == metav1.NamespaceSystem && !slices.Contains(unusedAccounts, subject.Name) {
				names = append(names, subject.Name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

type firstObjects struct {
	now        metav1.Time
	serializer runtime.Serializer
	values     map[string][]byte
	err        error // the first one
}

// add sets what the API server's registry does before it keeps a new object
// (pkg/registry: rest.FillObjectMetaSystemFields and the strategies).
func (f *firstObjects) add(resource string, version schema.GroupVersion, object interface {
	runtime.Object
	metav1.Object
}) {
	if f.err != nil {
		return
	}
	switch object.(type) {
	case *schedulingapi.PriorityClass, *flowcontrolv1.PriorityLevelConfiguration, *flowcontrolv1.FlowSchema:
		object.SetGeneration(1)
	}
	object.SetUID(uuid.NewUUID())
	object.SetCreationTimestamp(f.now)
	legacyscheme.Scheme.Default(object)
	value, err := runtime.Encode(legacyscheme.Codecs.EncoderForVersion(f.serializer, version), object)
	if err != nil {
		f.err = fmt.Errorf("%s %s: %w", resource, object.GetName(), err)
		return
	}
	f.values[path.Join(StoragePrefix, resource, object.GetNamespace(), object.GetName())] = value
}
