"""The functions of expressions: CEL's own, cel-go's extensions and Kubernetes' libraries, as release 1.36 has them."""
