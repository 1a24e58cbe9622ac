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

// storagePrefix is the API server's --etcd-prefix, unless it is told another.
const storagePrefix = "/registry"

// FirstPrefix begins the keys of which a datastore has some if an API server
// has ever been ready.
const FirstPrefix = storagePrefix + "/clusterroles/"

// FirstObjects are objects that a new cluster always gets, as the API server
// keeps them, by their keys in its datastore: the roles, bindings
// and priority classes that the API server's readiness waits for, its levels of
// priority, and the accounts of the controller manager's controllers. Through
// the API they take some 300 requests that wait for each other, a third of the
// time from the start to a Ready node. The API server, and the controller
// manager, look at each of them later and make what is missing.
func FirstObjects(now time.Time) (map[string][]byte, error) {
	f := firstObjects{now: metav1.NewTime(now.Truncate(time.Second)), values: make(map[string][]byte)}
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

// unusedAccounts are named by the policy and made by no controller that runs
// here.
var unusedAccounts = []string{"kube-dns", "route-controller", "selinux-warning-controller", "service-controller"}

// controllerAccounts are the accounts in kube-system that the policy knows.
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
	now    metav1.Time
	values map[string][]byte
	err    error // the first one
}

// add does what the API server's registry does before it keeps a new object.
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
	info, ok := runtime.SerializerInfoForMediaType(legacyscheme.Codecs.SupportedMediaTypes(), runtime.ContentTypeProtobuf)
	if !ok {
		f.err = fmt.Errorf("no serializer for %s", runtime.ContentTypeProtobuf)
		return
	}
	value, err := runtime.Encode(legacyscheme.Codecs.EncoderForVersion(info.Serializer, version), object)
	if err != nil {
		f.err = fmt.Errorf("%s %s: %w", resource, object.GetName(), err)
		return
	}
	f.values[path.Join(storagePrefix, resource, object.GetNamespace(), object.GetName())] = value
}
