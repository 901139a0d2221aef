"""Weight-only quantization: the language model's weights in 8 or 4 bits each, computed with in the model's own dtype.

    formats   how a matrix is stored and multiplied with (tensors only)
    modules   linear layers and fused experts whose weights are stored so
    loading   transformers' hook that converts each weight as it comes from the checkpoint; what was converted

Converted are the linear layers and the experts inside the language model's layers, nearly all of it. The vision tower,
embeddings, lm_head, norms and the routers of experts stay as they are: together they are small, and the answers
depend on them most.
"""

from omega_server.model.quantize.formats import QuantizationError
from omega_server.model.quantize.loading import Quantization, Share, is_derived

__all__ = ["Quantization", "QuantizationError", "Share", "is_derived"]
