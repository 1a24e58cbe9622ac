package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
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

// bootstrapLimit is the time that the API server's own objects may take, once
// the datastore is filled, to the end of the API server, which is of no use
// without them. Upstream gives up after half a minute, which slow machines need
// for the roles alone.
const bootstrapLimit = 5 * time.Minute

// bootstrapPauses are those from one try to the next.
var bootstrapPauses = wait.Backoff{Duration: 200 * time.Millisecond, Factor: 2, Steps: 6, Cap: 5 * time.Second}

// bootstrapHooks make what an API server cannot be without, and is not ready
// before. They take the place of upstream's hooks with the same names, which let
// a second pass before they look, and then ask for some 200 roles and bindings
// one by one.
var bootstrapHooks = map[string]func(context.Context, kubernetes.Interface) error{
	rbac.PostStartHookName:       ensurePolicy,
	scheduling.PostStartHookName: ensurePriorityClasses,
}

// bootstrapHook has ensure tried until it succeeds, once filled is closed.
func bootstrapHook(name string, filled <-chan struct{}, ensure func(context.Context, kubernetes.Interface) error) genericapiserver.PostStartHookFunc {
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
		ctx, cancel := context.WithTimeout(hook, bootstrapLimit)
		defer cancel()
		var last error
		err = bootstrapPauses.DelayFunc().Until(ctx, true, true, func(ctx context.Context) (bool, error) {
			err := ensure(ctx, client)
			if err != nil && ctx.Err() == nil && (last == nil || last.Error() != err.Error()) {
				last = err
				slog.Warn("the API server's own objects are not all there yet", "hook", name, "error", err)
			}
			return err == nil, nil
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

// bootstrapPolicy is what this version of Kubernetes wants in RBAC. What moves
// roles of Kubernetes 1.14 and before is left out: no cluster of ours is as old.
func bootstrapPolicy() rbac.PolicyData {
	p := rbac.PolicyData{
		ClusterRoles:        append(bootstrappolicy.ClusterRoles(), bootstrappolicy.ControllerRoles()...),
		ClusterRoleBindings: append(bootstrappolicy.ClusterRoleBindings(), bootstrappolicy.ControllerRoleBindings()...),
		Roles:               make(map[string][]rbacv1.Role),
		RoleBindings:        make(map[string][]rbacv1.RoleBinding),
	}
	// Those of namespaces are upstream's own, and not copies.
	for namespace, roles := range bootstrappolicy.NamespaceRoles() {
		for _, role := range roles {
			p.Roles[namespace] = append(p.Roles[namespace], *role.DeepCopy())
		}
	}
	for namespace, bindings := range bootstrappolicy.NamespaceRoleBindings() {
		for _, binding := range bindings {
			p.RoleBindings[namespace] = append(p.RoleBindings[namespace], *binding.DeepCopy())
		}
	}
	return p
}

// ensurePolicy makes the roles and bindings that are missing, and adds to the
// others what they lack, but for those that an administrator protected.
func ensurePolicy(ctx context.Context, client kubernetes.Interface) error {
	wanted := bootstrapPolicy()
	known, err := listPolicy(ctx, client, wanted)
	if err != nil {
		return err
	}
	// A role that fails leaves none of the others out.
	var failed []error
	done := func(kind, name string, protected, lacking bool, err error) {
		if err != nil {
			failed = append(failed, fmt.Errorf("%s %s: %w", kind, name, err))
		} else if protected && lacking {
			slog.Warn("it lacks what this version of Kubernetes wants, and is protected by its annotation", kind, name, "annotation", rbacv1.AutoUpdateAnnotationKey)
		}
	}
	ensureRole := func(role reconciliation.RuleOwner, there reconciliation.RuleOwnerModifier) {
		if ctx.Err() != nil {
			return
		}
		o := reconciliation.ReconcileRoleOptions{Role: role, Client: there, Confirm: true}
		result, err := o.Run()
		done("role", role.GetName(), err == nil && result.Protected, err == nil && result.Operation != reconciliation.ReconcileNone, err)
	}
	ensureBinding := func(binding reconciliation.RoleBinding, there reconciliation.RoleBindingModifier) {
		if ctx.Err() != nil {
			return
		}
		o := reconciliation.ReconcileRoleBindingOptions{RoleBinding: binding, Client: there, Confirm: true}
		result, err := o.Run()
		done("binding", binding.GetName(), err == nil && result.Protected, err == nil && result.Operation != reconciliation.ReconcileNone, err)
	}
	namespaces := client.CoreV1().Namespaces()
	clusterRoles := listedRoles{reconciliation.ClusterRoleModifier{Client: client.RbacV1().ClusterRoles()}, known.clusterRoles}
	for i := range wanted.ClusterRoles {
		ensureRole(reconciliation.ClusterRoleRuleOwner{ClusterRole: &wanted.ClusterRoles[i]}, clusterRoles)
	}
	clusterRoleBindings := listedBindings{reconciliation.ClusterRoleBindingClientAdapter{Client: client.RbacV1().ClusterRoleBindings()}, known.clusterRoleBindings}
	for i := range wanted.ClusterRoleBindings {
		ensureBinding(reconciliation.ClusterRoleBindingAdapter{ClusterRoleBinding: &wanted.ClusterRoleBindings[i]}, clusterRoleBindings)
	}
	roles := listedRoles{reconciliation.RoleModifier{Client: client.RbacV1(), NamespaceClient: namespaces}, known.roles}
	for _, ofNamespace := range wanted.Roles {
		for i := range ofNamespace {
			ensureRole(reconciliation.RoleRuleOwner{Role: &ofNamespace[i]}, roles)
		}
	}
	roleBindings := listedBindings{reconciliation.RoleBindingClientAdapter{Client: client.RbacV1(), NamespaceClient: namespaces}, known.roleBindings}
	for _, ofNamespace := range wanted.RoleBindings {
		for i := range ofNamespace {
			ensureBinding(reconciliation.RoleBindingAdapter{RoleBinding: &ofNamespace[i]}, roleBindings)
		}
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case len(failed) > 1:
		return fmt.Errorf("%w, and %d more", failed[0], len(failed)-1)
	}
	return errors.Join(failed...)
}

// policy is what the API server has in RBAC.
type policy struct {
	clusterRoles, roles               map[types.NamespacedName]reconciliation.RuleOwner
	clusterRoleBindings, roleBindings map[types.NamespacedName]reconciliation.RoleBinding
}

// listPolicy asks for all there is where wanted has something: in the cluster,
// and in some namespaces.
func listPolicy(ctx context.Context, client kubernetes.Interface, wanted rbac.PolicyData) (*policy, error) {
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
		p.clusterRoles[nameOf(o)] = reconciliation.ClusterRoleRuleOwner{ClusterRole: o}
	}
	clusterRoleBindings, err := client.RbacV1().ClusterRoleBindings().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("clusterrolebindings: %w", err)
	}
	for i := range clusterRoleBindings.Items {
		o := &clusterRoleBindings.Items[i]
		p.clusterRoleBindings[nameOf(o)] = reconciliation.ClusterRoleBindingAdapter{ClusterRoleBinding: o}
	}
	for namespace := range wanted.Roles {
		roles, err := client.RbacV1().Roles(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, fmt.Errorf("roles in %s: %w", namespace, err)
		}
		for i := range roles.Items {
			o := &roles.Items[i]
			p.roles[nameOf(o)] = reconciliation.RoleRuleOwner{Role: o}
		}
	}
	for namespace := range wanted.RoleBindings {
		roleBindings, err := client.RbacV1().RoleBindings(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, fmt.Errorf("rolebindings in %s: %w", namespace, err)
		}
		for i := range roleBindings.Items {
			o := &roleBindings.Items[i]
			p.roleBindings[nameOf(o)] = reconciliation.RoleBindingAdapter{RoleBinding: o}
		}
	}
	return p, nil
}

func nameOf(o metav1.Object) types.NamespacedName {
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
