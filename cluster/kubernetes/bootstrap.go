package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/kubernetes"
	"k8s.io/component-helpers/auth/rbac/reconciliation"
	schedulingv1 "k8s.io/kubernetes/pkg/apis/scheduling/v1"
	rbac "k8s.io/kubernetes/pkg/registry/rbac/rest"
	scheduling "k8s.io/kubernetes/pkg/registry/scheduling/rest"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy"
)

const (
	// bootstrapPause is the time from one try to make the API server's own
	// objects to the next, and bootstrapLimit that to the end of the API server,
	// which is of no use without them. Upstream gives up after half a minute,
	// which slow machines need for the roles.
	bootstrapPause = 200 * time.Millisecond
	bootstrapLimit = 5 * time.Minute
)

// bootstrapHooks make what an API server cannot be without, instead of upstream's
// hooks of the same names, which the API server's readiness waits for too. Those
// let a second pass before they look, and ask for each of some 200 roles and
// bindings on its own.
var bootstrapHooks = map[string]func(context.Context, kubernetes.Interface) error{
	rbac.PostStartHookName:       ensurePolicy,
	scheduling.PostStartHookName: ensurePriorityClasses,
}

// bootstrapHook has ensure tried until it succeeds, once filled is closed.
func bootstrapHook(filled <-chan struct{}, ensure func(context.Context, kubernetes.Interface) error) genericapiserver.PostStartHookFunc {
	return func(hook genericapiserver.PostStartHookContext) error {
		client, err := kubernetes.NewForConfig(hook.LoopbackClientConfig)
		if err != nil {
			return err
		}
		select {
		case <-filled:
		case <-hook.Done():
			return nil
		}
		var last error
		err = wait.PollUntilContextTimeout(hook, bootstrapPause, bootstrapLimit, true, func(ctx context.Context) (bool, error) {
			last = ensure(ctx, client)
			return last == nil, nil
		})
		if err != nil && hook.Err() == nil {
			return errors.Join(err, last)
		}
		return nil
	}
}

// ensurePriorityClasses makes the priority classes of the system that are
// missing.
func ensurePriorityClasses(ctx context.Context, client kubernetes.Interface) error {
	classes := client.SchedulingV1().PriorityClasses()
	for _, class := range schedulingv1.SystemPriorityClasses() {
		_, err := classes.Get(ctx, class.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			_, err = classes.Create(ctx, class, metav1.CreateOptions{})
		}
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("priority class %s: %w", class.Name, err)
		}
	}
	return nil
}

// bootstrapPolicy is what this version of Kubernetes wants in RBAC. The
// policy's rules for roles of Kubernetes 1.14 and before are left out: no cluster
// of ours is as old.
func bootstrapPolicy() rbac.PolicyData {
	return rbac.PolicyData{
		ClusterRoles:        append(bootstrappolicy.ClusterRoles(), bootstrappolicy.ControllerRoles()...),
		ClusterRoleBindings: append(bootstrappolicy.ClusterRoleBindings(), bootstrappolicy.ControllerRoleBindings()...),
		Roles:               bootstrappolicy.NamespaceRoles(),
		RoleBindings:        bootstrappolicy.NamespaceRoleBindings(),
	}
}

// ensurePolicy makes the roles and bindings that are missing, and adds to the
// others what they lack, but for those that an administrator protected.
func ensurePolicy(ctx context.Context, client kubernetes.Interface) error {
	known, err := listPolicy(ctx, client)
	if err != nil {
		return err
	}
	// A role that fails leaves none of the others out.
	var failed []error
	ensureRole := func(role reconciliation.RuleOwner, client reconciliation.RuleOwnerModifier) {
		o := reconciliation.ReconcileRoleOptions{Role: role, Client: client, Confirm: true}
		if _, err := o.Run(); err != nil {
			failed = append(failed, fmt.Errorf("role %s: %w", role.GetName(), err))
		}
	}
	ensureBinding := func(binding reconciliation.RoleBinding, client reconciliation.RoleBindingModifier) {
		o := reconciliation.ReconcileRoleBindingOptions{RoleBinding: binding, Client: client, Confirm: true}
		if _, err := o.Run(); err != nil {
			failed = append(failed, fmt.Errorf("binding %s: %w", binding.GetName(), err))
		}
	}
	policy, namespaces := bootstrapPolicy(), client.CoreV1().Namespaces()
	clusterRoles := listedRoles{reconciliation.ClusterRoleModifier{Client: client.RbacV1().ClusterRoles()}, known.clusterRoles}
	for i := range policy.ClusterRoles {
		ensureRole(reconciliation.ClusterRoleRuleOwner{ClusterRole: &policy.ClusterRoles[i]}, clusterRoles)
	}
	clusterRoleBindings := listedBindings{reconciliation.ClusterRoleBindingClientAdapter{Client: client.RbacV1().ClusterRoleBindings()}, known.clusterRoleBindings}
	for i := range policy.ClusterRoleBindings {
		ensureBinding(reconciliation.ClusterRoleBindingAdapter{ClusterRoleBinding: &policy.ClusterRoleBindings[i]}, clusterRoleBindings)
	}
	roles := listedRoles{reconciliation.RoleModifier{Client: client.RbacV1(), NamespaceClient: namespaces}, known.roles}
	for _, wanted := range policy.Roles {
		for i := range wanted {
			ensureRole(reconciliation.RoleRuleOwner{Role: &wanted[i]}, roles)
		}
	}
	roleBindings := listedBindings{reconciliation.RoleBindingClientAdapter{Client: client.RbacV1(), NamespaceClient: namespaces}, known.roleBindings}
	for _, wanted := range policy.RoleBindings {
		for i := range wanted {
			ensureBinding(reconciliation.RoleBindingAdapter{RoleBinding: &wanted[i]}, roleBindings)
		}
	}
	return errors.Join(failed...)
}

// policy is what the API server has in RBAC.
type policy struct {
	clusterRoles, roles               map[types.NamespacedName]reconciliation.RuleOwner
	clusterRoleBindings, roleBindings map[types.NamespacedName]reconciliation.RoleBinding
}

// listPolicy asks for all there is, which takes four requests.
func listPolicy(ctx context.Context, client kubernetes.Interface) (*policy, error) {
	p := &policy{
		clusterRoles: make(map[types.NamespacedName]reconciliation.RuleOwner), roles: make(map[types.NamespacedName]reconciliation.RuleOwner),
		clusterRoleBindings: make(map[types.NamespacedName]reconciliation.RoleBinding), roleBindings: make(map[types.NamespacedName]reconciliation.RoleBinding),
	}
	clusterRoles, err := client.RbacV1().ClusterRoles().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("clusterroles: %w", err)
	}
	for i := range clusterRoles.Items {
		o := &clusterRoles.Items[i]
		p.clusterRoles[name(o)] = reconciliation.ClusterRoleRuleOwner{ClusterRole: o}
	}
	clusterRoleBindings, err := client.RbacV1().ClusterRoleBindings().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("clusterrolebindings: %w", err)
	}
	for i := range clusterRoleBindings.Items {
		o := &clusterRoleBindings.Items[i]
		p.clusterRoleBindings[name(o)] = reconciliation.ClusterRoleBindingAdapter{ClusterRoleBinding: o}
	}
	roles, err := client.RbacV1().Roles(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("roles: %w", err)
	}
	for i := range roles.Items {
		o := &roles.Items[i]
		p.roles[name(o)] = reconciliation.RoleRuleOwner{Role: o}
	}
	roleBindings, err := client.RbacV1().RoleBindings(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("rolebindings: %w", err)
	}
	for i := range roleBindings.Items {
		o := &roleBindings.Items[i]
		p.roleBindings[name(o)] = reconciliation.RoleBindingAdapter{RoleBinding: o}
	}
	return p, nil
}

func name(o metav1.Object) types.NamespacedName {
	return types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}
}

// listedRoles knows roles of a list, and asks for what is not on it.
type listedRoles struct {
	reconciliation.RuleOwnerModifier
	listed map[types.NamespacedName]reconciliation.RuleOwner
}

func (l listedRoles) Get(namespace, name string) (reconciliation.RuleOwner, error) {
	if role, ok := l.listed[types.NamespacedName{Namespace: namespace, Name: name}]; ok {
		return role, nil
	}
	return l.RuleOwnerModifier.Get(namespace, name)
}

// listedBindings knows bindings of a list, and asks for what is not on it.
type listedBindings struct {
	reconciliation.RoleBindingModifier
	listed map[types.NamespacedName]reconciliation.RoleBinding
}

func (l listedBindings) Get(namespace, name string) (reconciliation.RoleBinding, error) {
	if binding, ok := l.listed[types.NamespacedName{Namespace: namespace, Name: name}]; ok {
		return binding, nil
	}
	return l.RoleBindingModifier.Get(namespace, name)
}
