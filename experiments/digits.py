import optax
from jbatch.experiment import *
from jbatch.models import MLP
from jbatch.data.sources import Digits
from jbatch.data.augment import Augment
from jbatch.optimizer import SGD
def ex(mx, sched=optax.piecewise_constant_schedule(0.05,{15:1/3,30:1/3,40:1/3}), **k): return Experiment(plan=Coupling(schedule=sched,num_examples=1500,num_epochs=50,batch_size=16,max_batch_size=mx,growth_factor=3,momentum=k.get("m",0.9)),model=MLP((64,)),data=Digits(),augment=Augment(pad=1),optimizer=SGD(weight_decay=k.get("wd",0.)),save_every=25)
variants={"decaying":ex(16),"hybrid":ex(48),"increasing":ex(128),"constant":ex(16,optax.constant_schedule(.05))}
