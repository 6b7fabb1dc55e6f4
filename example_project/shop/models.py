from django.db import models


class Invoice(models.Model):
    """A row that only the holder of its lock may write: ``fence`` keeps late writers out."""

    total = models.PositiveIntegerField(default=0)
    status = models.CharField(max_length=20, default="open")
    fence = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return f"Invoice {self.pk}: {self.total} ({self.status})"
